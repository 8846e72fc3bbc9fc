// @ts-check
// Small charts: a bar chart that can be read by pointer, keys and as a table, and lines over depth.

import { button, h, plainTable, scaleChoice, svg } from '../dom.js';
import { breakable, exact, number, plain } from '../format.js';
import { gridOf } from '../model/grid.js';
import { scaled } from '../model/measures.js';
import { layerText } from '../model/place.js';

/** @import { Row, TensorStats } from '../types.js' */
/** @import { Measure } from '../model/measures.js' */

/** Width of the drawing, in its own units. */
const WIDTH = 320;
const HEIGHT = 96;

/**
 * Places lie between 0 and 1; the bars fill `span`, else all of it. Without a `summary` the highest bar is named.
 * @typedef {{ title: string, summary?: string, head: [string, string], bars: { label: string, value: number, text: string }[], log: boolean, zero?: number, ticks?: number[], cuts?: number[], span?: [number, number], ends: [string, string] }} Chart
 */

/** Bars whose exact values are read by hovering, or with the arrow keys; `T` turns it into a table. @param {Chart} chart */
export function barChart({ title, summary, head, bars, log, zero, ticks = [], cuts = [], span: [from, to] = [0, 1], ends }) {
  const top = bars.reduce((best, bar) => (bar.value > best.value ? bar : best));
  const high = top.value;
  summary ??= `highest in ${top.label}: ${top.text}`;
  const tall = (/** @type {number} */ value) =>
    value <= 0 ? 0 : Math.max(1.5, HEIGHT * (log ? Math.log1p(value) / Math.log1p(high) : value / high));
  const step = (WIDTH * (to - from)) / Math.max(1, bars.length);
  const place = (/** @type {number} */ index) => from * WIDTH + index * step;
  const cursor = svg('rect', { class: 'cursor', x: -WIDTH, y: 0, width: step, height: HEIGHT });
  const read = h('output', { class: 'read num' }, summary);
  let at = -1;
  const show = (/** @type {number} */ index) => {
    at = index;
    const bar = bars[index];
    cursor.setAttribute('x', String(bar ? place(index) : -WIDTH));
    read.textContent = bar ? `${bar.label}: ${bar.text}` : summary;
  };
  const picture = svg(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    cursor,
    bars.map(({ value }, i) => {
      const height = tall(value);
      return height
        ? svg('rect', {
            class: 'bar',
            x: place(i) + 0.25,
            y: HEIGHT - height,
            width: Math.max(0.5, step - 0.5),
            height,
          })
        : null;
    }),
    zero === undefined ? null : svg('line', { class: 'zero', x1: zero * WIDTH, x2: zero * WIDTH, y1: 0, y2: HEIGHT }),
    ticks.map((tick) => svg('line', { class: 'tick', x1: tick * WIDTH, x2: tick * WIDTH, y1: HEIGHT - 8, y2: HEIGHT })),
    cuts.map((cut) => svg('line', { class: 'cut', x1: cut * WIDTH, x2: cut * WIDTH, y1: 0, y2: HEIGHT })),
  );
  const table = plainTable(head, bars.map(({ label, text }) => [label, text]), 0);
  table.hidden = true;
  const drawing = h(
    'div',
    {
      class: 'plot',
      tabindex: 0,
      role: 'img',
      'aria-label': `${title}. ${summary}. Arrow keys read the bars, T shows a table.`,
      'data-key': `plot ${title}`,
      on: {
        pointermove: (/** @type {PointerEvent} */ event) => {
          const box = drawing.getBoundingClientRect();
          const at = ((event.clientX - box.x) / box.width - from) / (to - from || 1);
          show(Math.min(bars.length - 1, Math.max(0, Math.floor(at * bars.length))));
        },
        pointerleave: () => show(-1),
        blur: () => show(-1),
        keydown: (/** @type {KeyboardEvent} */ event) => {
          if (event.key === 'ArrowRight') show(Math.min(bars.length - 1, at + 1));
          else if (event.key === 'ArrowLeft') show(Math.max(0, at - 1));
          else return;
          event.preventDefault();
          event.stopPropagation();
        },
      },
    },
    picture,
  );
  const turn = () => {
    table.hidden = !table.hidden;
    drawing.hidden = !table.hidden;
    toggle.setAttribute('aria-pressed', String(!table.hidden));
  };
  const toggle = button('Table', turn, { class: 'quiet', 'aria-pressed': 'false', 'aria-keyshortcuts': 'T' });
  return h(
    'figure',
    { class: 'chart' },
    h('figcaption', null, h('span', null, title), toggle),
    drawing,
    h('div', { class: 'ends num muted', 'aria-hidden': 'true' }, h('span', null, ends[0]), h('span', null, ends[1])),
    h('div', { class: 'table-scroll' }, table),
    h('div', { role: 'status' }, read),
  );
}

/**
 * The decoded delta of one tensor.
 * @param {TensorStats} stats @param {boolean} log @param {(log: boolean) => void} onLog
 */
export function histogram(stats, log, onLog) {
  const { lo, hi, counts } = stats.histogram;
  const width = (hi - lo) / Math.max(1, counts.length);
  const zero = lo < 0 && hi > 0 ? -lo / (hi - lo) : undefined;
  const bars = counts.map((value, i) => ({
    value,
    label: `${number(lo + i * width)} … ${number(lo + (i + 1) * width)}`,
    text: exact(value),
  }));
  return countChart({
    title: 'Decoded delta',
    head: ['Range', 'Values'],
    bars,
    log,
    onLog,
    zero,
    ends: [number(lo), number(hi)],
  });
}

/** A bar chart of counts, with a choice of their axis. @param {Chart & { onLog(log: boolean): void }} chart */
export function countChart({ onLog, ...chart }) {
  return [
    barChart(chart),
    scaleChoice('Count axis', chart.log, onLog),
  ];
}

/**
 * RMS of each row, or of neighbouring rows together.
 * @param {TensorStats['rows']} rows @param {number} count of the rows @param {string} [title] @param {string} [head]
 */
export function rowChart({ rms, per }, count, title = 'RMS by row', head = 'RMS') {
  if (rms.length < 2) return null;
  /** The last row of a group, of which the last may be smaller. @param {number} i */
  const last = (i) => exact(Math.min((i + 1) * per, count) - 1);
  const bars = rms.map((value, i) => ({
    value,
    label: per > 1 ? `rows ${exact(i * per)} to ${last(i)}` : `row ${exact(i)}`,
    text: number(value),
  }));
  return barChart({
    title,
    head: ['Rows', head],
    bars,
    log: false,
    ends: ['row 0', `row ${last(rms.length)}`],
  });
}

/**
 * One line per role over depth, all on one axis.
 * @param {Row[]} rows @param {Measure} measure @param {string | null} tensor @param {(name: string) => void} onSelect
 */
export function depthLines(rows, measure, tensor, onSelect) {
  const { columns, lines } = gridOf(rows);
  const layers = [...lines].reverse();
  const series = columns.map(({ label }, column) => ({
    label,
    points: layers.map(({ label: layer, cells }) => ({
      layer,
      cell: cells[column],
      value: cells[column] ? measure.of(cells[column].rows) : null,
    })),
  }));
  const high = Math.max(0, ...scaled(lines.flatMap(({ cells }) => cells.filter((cell) => cell !== null)), measure).map((value) => Math.abs(value ?? 0)));
  if (!series.length) return h('p', { class: 'muted' }, 'The names have no layers to follow.');
  if (series.every(({ points }) => points.every(({ value }) => value === null)))
    return h('p', { class: 'muted' }, `${measure.label} is not measured yet.`);
  const [width, height] = [300, 28];
  const x = (/** @type {number} */ i) => (layers.length > 1 ? (i / (layers.length - 1)) * width : width / 2);
  const part = (/** @type {number} */ value) => Math.max(-1, Math.min(1, value / (high || 1)));
  const y = (/** @type {number} */ value) =>
    measure.signed
      ? height / 2 - part(value) * (height / 2 - 1)
      : height - 1 - part(value) * (height - 2);
  return h(
    'table',
    { class: 'depth' },
    h('caption', null, `${measure.label} over depth, all on one axis up to ${measure.text(high).replace('+', '±')}`),
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        h('th', { scope: 'col' }, 'Role'),
        h(
          'th',
          { scope: 'col' },
          h(
            'div',
            { class: 'ends num' },
            h('span', null, layerText(layers[0].label)),
            h('span', null, layers[layers.length - 1].label),
          ),
        ),
        h('th', { scope: 'col', class: 'numeric' }, 'Largest'),
      ),
    ),
    h(
      'tbody',
      null,
      series.map(({ label, points }) => {
        const known = points.map(({ value }, i) => ({ value, i })).filter((point) => point.value !== null);
        const top = known.reduce(
          (/** @type {typeof known[0] | null} */ best, point) =>
            !best || Math.abs(point.value ?? 0) > Math.abs(best.value ?? 0) ? point : best,
          null,
        );
        const peak = top ? points[top.i] : null;
        const chosen = points.findIndex(({ cell }) => cell?.rows.some((row) => row.name === tensor));
        return h(
          'tr',
          null,
          h('th', { scope: 'row' }, breakable(label)),
          h(
            'td',
            null,
            svg(
              'svg',
              { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
              svg('line', { class: 'axis', x1: 0, x2: width, y1: y(0), y2: y(0) }),
              svg('polyline', {
                class: 'depth-line',
                // A layer that stands alone has a line down to the axis.
                points: [...known, ...(known.length < 2 ? known : []).map(({ i }) => ({ i, value: 0 }))]
                  .map(({ value, i }) => `${x(i)},${y(value ?? 0)}`)
                  .join(' '),
              }),
              chosen >= 0 ? svg('line', { class: 'zero', x1: x(chosen), x2: x(chosen), y1: 0, y2: height }) : null,
            ),
          ),
          h(
            'td',
            { class: 'numeric num' },
            peak?.cell && peak.value
              ? button(
                  [measure.text(peak.value ?? 0), h('span', { class: 'wide' }, ` · ${plain(layerText(peak.layer))}`)],
                  () => onSelect(peak.cell?.rows[0].name ?? ''),
                  { class: 'link', 'data-key': `peak ${label}` },
                )
              : peak
                ? measure.text(0)
                : '–',
          ),
        );
      }),
    ),
  );
}
