// @ts-check
// The bytes map: layers by roles as a grid of buttons, or areas by bytes, with a legend that filters.

import { button, fill, h, inSlices, nextFrame, svg } from '../dom.js';
import { breakable, exact, middle, name, percent, plain, plural } from '../format.js';
import { cellsOf, gridOf, squarify } from '../model/grid.js';
import { scaled, scaleOf } from '../model/measures.js';
import { worst } from '../model/rows.js';

/** @import { Row } from '../types.js' */
/** @import { Cell } from '../model/grid.js' */
/** @import { Measure } from '../model/measures.js' */

/** Bins of the legend. */
const LEGEND_BINS = 32;

/** Rectangles of the area picture; the smallest tensors share the last one. */
const AREA_CELLS = 400;

/** @typedef {{ rows: Row[], measure: Measure, log: boolean, area: boolean, open: string | null, tensor: string | null, cell: string | null, brush: [number, number] }} Shown */
/** @typedef {{ onCell(cell: Cell): void, onBrush(brush: [number, number]): void }} Actions */

/** Cells that are not coloured in the frame that shows them. */
const MANY = 500;
/** Bands of more cells than this have no room for names. */
const NAMED = 24;
/** Columns of a map with more than this are too narrow for heads that lie. */
const LYING = 14;

export class BytesMap {
  element = h('div', { class: 'picture' });
  #actions;
  #picture = h('div', { class: 'map-scroll' });
  #legend = h('div');
  /** @type {Map<Cell, HTMLButtonElement>} */
  #buttons = new Map();
  /** What each cell shows. @type {Map<Cell, string>} */
  #painted = new Map();
  /** @type {Shown | null} */
  #shown = null;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.element.append(this.#picture, this.#legend);
    this.#picture.addEventListener('keydown', moveFocus);
  }

  /** @param {Shown} shown */
  update(shown) {
    const before = this.#shown;
    this.#shown = shown;
    if (before?.rows !== shown.rows || before.open !== shown.open || before.area !== shown.area) {
      this.#buttons = new Map();
      this.#painted = new Map();
      const grid = gridOf(shown.rows, shown.open);
      fill(this.#picture, shown.area ? this.#areas(cellsOf(grid)) : this.#lines(grid, shown.open));
    }
    void this.#paint(shown);
  }

  /** Colours and names every cell by the measure. @param {Shown} shown */
  async #paint(shown) {
    const { measure, log, brush, tensor, cell: chosen } = shown;
    const cells = [...this.#buttons.keys()];
    const values = cells.map((cell) => measure.of(cell.rows));
    const scale = scaleOf(scaled(cells, measure, log), log, measure.signed);
    fill(this.#legend, legend(shown, values, scale, this.#actions));
    /** @type {HTMLElement | null} */
    let stop = null;
    let i = 0;
    const over = () => this.#shown !== shown;
    const paint = (/** @type {[Cell, HTMLElement]} */ [cell, element]) => {
      const value = values[i++];
      const at = value === null ? 0 : scale.at(value);
      const selected = cell.key === chosen || cell.rows.some((row) => row.name === tensor);
      const faded = value !== null && (at < brush[0] || at > brush[1]);
      if (selected || !stop || element === document.activeElement) {
        if (stop) stop.tabIndex = -1;
        (stop = element).tabIndex = 0;
      } else if (element.tabIndex === 0) element.tabIndex = -1;
      const looks = [value, scale.max, at, selected, faded, measure.id].join();
      if (this.#painted.get(cell) === looks) return;
      this.#painted.set(cell, looks);
      const severities = cell.rows.map(worst);
      const finding = severities.find((severity) => severity === 'error') ?? severities.find(Boolean);
      const said =
        value === null
          ? 'not known'
          : `${measure.label} ${measure.text(value)}${measure.signed ? '' : value > scale.max ? ', above the scale' : `, ${percent(scale.max ? Math.max(0, value) / scale.max : 0)} of maximum`}`;
      const label = [plain(cell.label), said, cell.rows.length > 1 && plural(cell.rows.length, 'tensor'), finding]
        .filter(Boolean)
        .join(', ');
      element.className = [
        'cell',
        value === null && 'unknown',
        measure.signed && 'signed',
        finding && `has-${finding}`,
        faded && 'faded',
      ]
        .filter(Boolean)
        .join(' ');
      element.setAttribute('aria-label', label);
      element.title = label;
      element.setAttribute('aria-pressed', String(selected));
      element.style.setProperty('--v', at.toFixed(3));
    };
    // So that the layout which a focus asks for at once has less to do.
    if (this.#buttons.size > MANY) await nextFrame();
    if (!over()) await inSlices(this.#buttons, paint, over);
  }

  /** @param {Cell} cell @param {import('../dom.js').Props} props @param {import('../dom.js').Child} text */
  #button(cell, props, text) {
    // It looks like a cell before its value is shown, which on a slow machine is some frames later.
    const element = button(text, () => this.#actions.onCell(cell), { class: 'cell unknown', 'data-key': `cell ${cell.key}`, ...props });
    this.#buttons.set(cell, element);
    return element;
  }

  /** @param {import('../model/grid.js').Grid} grid @param {string | null} open */
  #lines({ columns, lines, top, bottom }, open) {
    const band = (/** @type {Cell[]} */ cells) =>
      cells.length
        ? h(
            'div',
            { class: cells.length > NAMED ? 'bands many' : 'bands', role: 'row' },
            cells.map((cell) =>
              h(
                'div',
                { role: 'gridcell' },
                this.#button(cell, {}, cells.length > NAMED ? null : name(cell.label, 32)),
              ),
            ),
          )
        : null;
    const upright = columns.length > LYING;
    const long = Math.max(...lines.map(({ label }) => label.length));
    return h(
      'div',
      { class: upright ? 'map upright' : 'map', role: 'grid', 'aria-label': 'Tensors by layer and role', vars: { '--columns': columns.length, '--long': long } },
      columns.length
        ? h(
            'div',
            { class: 'line head', role: 'row' },
            h('span', { role: 'columnheader', class: 'axis' }, open === null ? 'layer' : 'expert'),
            columns.map(({ label, key }) => h('span', { role: 'columnheader', title: plain(key) }, upright ? name(label, 32) : breakable(middle(label, 40)))),
          )
        : null,
      band(top),
      lines.map(({ label, cells }) =>
        h(
          'div',
          { class: 'line', role: 'row' },
          h('span', { role: 'rowheader', title: label }, label),
          cells.map((cell) => h('div', { role: 'gridcell' }, cell ? this.#button(cell, {}, null) : null)),
        ),
      ),
      band(bottom),
    );
  }

  /** @param {Cell[]} cells */
  #areas(cells) {
    const size = (/** @type {Cell} */ { rows }) =>
      rows.reduce((sum, row) => sum + Math.max(row.bytes, row.b?.bytes ?? 0), 0);
    const sized = cells
      .map((item) => ({ item, size: size(item) }))
      .filter((cell) => cell.size > 0)
      .sort((a, b) => b.size - a.size);
    if (sized.length > AREA_CELLS) {
      const rest = sized.splice(AREA_CELLS - 1);
      const item = {
        key: 'rest',
        label: plural(rest.length, 'smaller cell'),
        rows: rest.flatMap((cell) => cell.item.rows),
      };
      sized.push({ item, size: rest.reduce((sum, cell) => sum + cell.size, 0) });
    }
    return h(
      'div',
      { class: 'areas', role: 'group', 'aria-label': 'Tensors, area by stored bytes' },
      squarify(sized, 200, 100).map(({ item, x, y, w, h: height }) =>
        this.#button(
          item,
          { vars: { '--x': `${x / 2}%`, '--y': `${y}%`, '--w': `${w / 2}%`, '--h': `${height}%` } },
          w > 18 && height > 7 ? name(item.label, 40) : null,
        ),
      ),
    );
  }
}

/** Arrow keys go to the nearest cell in that direction, Home and End to the ends. @param {KeyboardEvent} event */
function moveFocus(event) {
  const from = event.target;
  if (!(from instanceof HTMLElement) || !from.matches('.cell')) return;
  const all = /** @type {HTMLElement[]} */ ([
    .../** @type {HTMLElement} */ (event.currentTarget).querySelectorAll('.cell'),
  ]);
  /** @type {Record<string, [number, number]>} */
  const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const way = ways[event.key];
  let to = event.key === 'Home' ? all[0] : event.key === 'End' ? all[all.length - 1] : undefined;
  if (way) to = nearest(from, all, way);
  if (!to) return;
  event.preventDefault();
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
  to.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

/** @param {HTMLElement} from @param {HTMLElement[]} all @param {[number, number]} way */
function nearest(from, all, [dx, dy]) {
  const middle = (/** @type {HTMLElement} */ element) => {
    const box = element.getBoundingClientRect();
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  };
  const here = middle(from);
  let best;
  let least = Infinity;
  for (const other of all) {
    const there = middle(other);
    const along = (there.x - here.x) * dx + (there.y - here.y) * dy;
    const aside = Math.abs((there.x - here.x) * dy) + Math.abs((there.y - here.y) * dx);
    if (other !== from && along > 1 && along + aside * 3 < least) [best, least] = [other, along + aside * 3];
  }
  return best;
}

/** @param {Shown} shown @param {(number | null)[]} values @param {ReturnType<typeof scaleOf>} scale @param {Actions} actions */
function legend({ measure, brush }, values, scale, actions) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return h('p', { class: 'legend muted' }, values.length ? 'Hatched cells are not measured yet.' : 'There are no tensors.');
  /** @type {number[]} */
  const bins = Array(LEGEND_BINS).fill(0);
  for (const value of known) bins[Math.min(LEGEND_BINS - 1, Math.floor(scale.at(value) * LEGEND_BINS))]++;
  const most = Math.max(...bins);
  const slider = (/** @type {0 | 1} */ end) =>
    h('input', {
      type: 'range',
      min: 0,
      max: 1,
      step: 0.01,
      value: brush[end],
      'data-key': `brush ${end}`,
      class: 'brush',
      title: 'Drag to show a part',
      'aria-label': `${end ? 'Highest' : 'Lowest'} ${measure.label} shown`,
      'aria-valuetext': measure.text(scale.value(brush[end])),
      on: {
        input: (/** @type {Event} */ event) => {
          const at = Number(/** @type {HTMLInputElement} */ (event.target).value);
          actions.onBrush(end ? [Math.min(brush[0], at), at] : [at, Math.max(brush[1], at)]);
        },
      },
    });
  return h(
    'div',
    { class: measure.signed ? 'legend signed' : 'legend' },
    h('span', { class: 'num' }, measure.text(scale.value(brush[0]))),
    h(
      'div',
      { class: 'legend-bins' },
      svg(
        'svg',
        { viewBox: `0 0 ${LEGEND_BINS} 24`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
        bins.map((n, i) =>
          n
            ? svg('rect', {
                class: 'bar',
                x: i,
                y: 24 - Math.max(2, (n / most) * 24),
                width: 0.9,
                height: Math.max(2, (n / most) * 24),
                vars: { '--v': ((i + 0.5) / LEGEND_BINS).toFixed(3) },
              })
            : null,
        ),
      ),
      h('div', { class: 'ramp', 'aria-hidden': 'true' }),
      slider(0),
      slider(1),
    ),
    h('span', { class: 'num' }, brush[1] === 1 && known.some((value) => value > scale.max) ? '≥ ' : '', measure.text(scale.value(brush[1]))),
    h(
      'span',
      { class: 'muted' },
      `${exact(known.length)} of ${plural(values.length, 'cell')}`,
    ),
  );
}
