// @ts-check
// The tensor table: a native table that holds only the rows in sight, with the keys of a grid.

import { button, fill, h, icon } from '../dom.js';
import { csvCell, exact, middle, plain, seen, sentence, shape } from '../format.js';
import { layerText } from '../model/place.js';
import { download } from '../output/destination.js';

/** @import { Row } from '../types.js' */
/** @import { Child } from '../dom.js' */

/**
 * @typedef {{ id: string, label: string, unit?: string, numeric?: boolean, minor?: boolean, wide?: boolean, value(row: Row): string | number | null, cell(row: Row): Child }} Column
 *   `value` sorts and exports, `cell` shows; a minor column gives way on narrow screens, a wide one on the narrowest
 * @typedef {{ group: string, count: number, closed: boolean }} Heading
 * @typedef {{ rows: Row[], columns: Column[], sort: { column: string, descending: boolean }, group: string, closed: string[], tensor: string | null, dense: boolean, caption: string }} Content
 */

/** Rows that are built beyond those in sight. */
const SPARE = 10;

/** @type {Record<string, (row: Row) => string>} */
export const GROUPS = {
  layer: ({ group }) => (group.layer === null ? 'no layer' : layerText(group.layer)),
  role: ({ group }) => group.role,
  operation: ({ strategy }) => strategy,
};

export class TensorTable {
  element;
  #actions;
  #scroller;
  #table;
  #head = h('thead', null);
  #body = h('tbody', null);
  /** @type {(Row | Heading)[]} */
  #items = [];
  /** @type {Content | null} */
  #content = null;
  #cursor = 0;
  #height = 28;
  #first = -1;
  #last = -1;

  /** @param {{ onSelect(name: string | null, opened: boolean): void, onSort(column: string): void, onToggle(group: string): void }} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#table = h(
      'table',
      { role: 'grid', class: 'tensors', id: 'table', 'aria-label': 'Tensors' },
      this.#head,
      this.#body,
    );
    this.#scroller = h(
      'div',
      { class: 'scroller', on: { scroll: () => this.#draw(), keydown: (event) => this.#key(event), copy: wholeNames } },
      this.#table,
    );
    this.element = this.#scroller;
    new ResizeObserver(() => this.#draw()).observe(this.#scroller);
  }

  /** @param {Content} content */
  update(content) {
    const before = this.#content;
    this.#content = content;
    this.#height = (content.dense ? 28 : 36) + (matchMedia('(pointer: coarse)').matches ? 8 : 0);
    const kept = this.#items[this.#cursor];
    if (
      !before ||
      before.rows !== content.rows ||
      before.sort !== content.sort ||
      before.group !== content.group ||
      before.closed !== content.closed ||
      before.columns !== content.columns
    ) {
      this.#items = arrange(content);
      this.#drawHead();
      const again = kept ? this.#items.indexOf(kept) : 0;
      this.#cursor = Math.max(0, again);
    }
    if (before?.tensor !== content.tensor && content.tensor !== null) {
      const at = this.#items.findIndex((item) => 'name' in item && item.name === content.tensor);
      if (at >= 0 && at !== this.#cursor) {
        this.#cursor = at;
        this.#reveal();
      }
    }
    const major = content.columns.filter(({ minor }) => !minor).length;
    this.#table.classList.toggle('many', content.columns.length > 8);
    this.#table.style.setProperty('--columns', String(content.columns.length - 1));
    this.#table.style.setProperty('--major', String(major - 1));
    this.#table.style.setProperty('--few', String(major - 1 - content.columns.filter(({ wide }) => wide).length));
    this.#table.setAttribute('aria-label', content.caption);
    this.#table.setAttribute('aria-rowcount', String(this.#items.length + 1));
    this.#first = -1;
    this.#draw();
  }

  /** The visible rows, with head, as CSV or JSON. @param {'csv' | 'json'} kind @param {string} name of what they are of */
  export(kind, name) {
    const { columns } = /** @type {Content} */ (this.#content);
    const rows = this.#items.filter((item) => 'name' in item);
    const text =
      kind === 'csv'
        ? [columns.map(({ id }) => id), ...rows.map((row) => columns.map((column) => column.value(row)))]
            .map((line) => line.map(csvCell).join(','))
            .join('\r\n')
        : JSON.stringify(
            rows
              .map((row) => columns.map(({ id, value }) => [id, value(row)]))
              .map((pairs) => Object.fromEntries(pairs)),
            null,
            2,
          );
    download(new Blob([text], { type: kind === 'csv' ? 'text/csv' : 'application/json' }), `${name}.${kind}`);
  }

  /** Moves the focus to the row of the cursor. */
  focus() {
    this.#reveal();
    this.#draw();
    this.#rowAt(this.#cursor)?.focus({ preventScroll: true });
  }

  /** @param {number} step rows down, or up if negative */
  move(step) {
    this.#go(this.#cursor + step);
  }

  #drawHead() {
    const { columns, sort } = /** @type {Content} */ (this.#content);
    fill(
      this.#head,
      h(
        'tr',
        { 'aria-rowindex': 1 },
        columns.map((column) => {
          const sorted = sort.column === column.id;
          const arrow = sorted ? (sort.descending ? '▼' : '▲') : '';
          return h(
            'th',
            {
              scope: 'col',
              class: kind(column),
              'aria-sort': sorted ? (sort.descending ? 'descending' : 'ascending') : null,
            },
            button(
              [
                column.label,
                column.unit ? h('span', { class: 'muted' }, ` ${column.unit}`) : null,
                h('span', { class: 'arrow', 'aria-hidden': 'true' }, arrow),
              ],
              () => this.#actions.onSort(column.id),
              {
                'data-key': `sort ${column.id}`,
                tabindex: -1,
              },
            ),
          );
        }),
      ),
    );
  }

  #draw() {
    const content = this.#content;
    if (!content) return;
    const inSight = Math.ceil((this.#scroller.clientHeight || 400) / this.#height);
    const first = Math.max(
      0,
      Math.min(Math.floor(this.#scroller.scrollTop / this.#height), this.#items.length - inSight) - SPARE,
    );
    const last = Math.min(this.#items.length, first + inSight + 2 * SPARE);
    if (first === this.#first && last === this.#last) return;
    [this.#first, this.#last] = [first, last];
    const { scrollTop } = this.#scroller;
    const cursorOut = this.#cursor < first || this.#cursor >= last;
    fill(
      this.#body,
      spacer(first * this.#height, content.columns.length),
      this.#items
        .slice(first, last)
        .map((item, i) =>
          this.#row(
            item,
            first + i,
            first + i === this.#cursor || (cursorOut && i === Math.min(SPARE, last - first - 1)),
          ),
        ),
      spacer((this.#items.length - last) * this.#height, content.columns.length),
      this.#items.length ? null : h('tr', null, h('td', { colspan: content.columns.length, class: 'muted' }, 'No tensors.')),
    );
    // Without its rows it was too short for a moment, which takes some browsers to its top.
    if (this.#scroller.scrollTop !== scrollTop) this.#scroller.scrollTop = scrollTop;
  }

  /** @param {Row | Heading} item @param {number} index @param {boolean} stop whether Tab stops here */
  #row(item, index, stop) {
    const { columns, tensor } = /** @type {Content} */ (this.#content);
    const shared = {
      'aria-rowindex': index + 2,
      tabindex: stop ? 0 : -1,
      'data-row': index,
      vars: { '--row': `${this.#height}px` },
    };
    if (!('name' in item)) {
      const key = `group ${item.group}`;
      return h(
        'tr',
        {
          ...shared,
          class: 'group',
          'data-key': key,
          'aria-expanded': !item.closed,
          on: { click: () => this.#actions.onToggle(item.group) },
        },
        h(
          'th',
          { scope: 'rowgroup', colspan: columns.length },
          h('span', { 'aria-hidden': 'true' }, item.closed ? '▸' : '▾'),
          ' ',
          plain(item.group),
          h('span', { class: 'muted' }, ` ${exact(item.count)}`),
        ),
      );
    }
    return h(
      'tr',
      {
        ...shared,
        'data-key': `row ${item.name}`,
        'aria-selected': item.name === tensor,
        on: { click: () => this.#choose(index, true) },
      },
      columns.map((column, i) =>
        i === 0
          ? h('th', { scope: 'row', class: kind(column), 'aria-label': seen(item.name) }, column.cell(item))
          : h('td', { class: kind(column) }, column.cell(item)),
      ),
    );
  }

  /** @param {number} index @param {boolean} opened */
  #choose(index, opened) {
    this.#cursor = index;
    const item = this.#items[index];
    if (!item) return;
    if ('name' in item) this.#actions.onSelect(item.name, opened);
    else if (opened) this.#actions.onToggle(item.group);
  }

  /** @param {number} index */
  #go(index) {
    if (!this.#items.length) return;
    this.#cursor = Math.max(0, Math.min(this.#items.length - 1, index));
    this.#reveal();
    this.#first = -1;
    this.#draw();
    this.#rowAt(this.#cursor)?.focus({ preventScroll: true });
    this.#choose(this.#cursor, false);
  }

  #reveal() {
    const top = this.#cursor * this.#height;
    const head = this.#head.offsetHeight;
    const { scrollTop, clientHeight } = this.#scroller;
    if (top < scrollTop) this.#scroller.scrollTop = top;
    else if (top + this.#height + head > scrollTop + clientHeight)
      this.#scroller.scrollTop = top + this.#height + head - clientHeight;
  }

  /** @param {number} index @returns {HTMLElement | null} */
  #rowAt(index) {
    return this.#body.querySelector(`[data-row="${index}"]`);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.#scroller.clientHeight / this.#height) - 2);
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#go(this.#cursor + 1),
      ArrowUp: () => this.#go(this.#cursor - 1),
      PageDown: () => this.#go(this.#cursor + page),
      PageUp: () => this.#go(this.#cursor - page),
      Home: () => this.#go(0),
      End: () => this.#go(this.#items.length - 1),
      Enter: () => this.#choose(this.#cursor, true),
      ' ': () => this.#choose(this.#cursor, true),
    };
    const at = event.target instanceof HTMLElement && event.target.dataset.row;
    const act = at ? keys[event.key] : undefined;
    if (!act) return;
    this.#cursor = Number(at);
    event.preventDefault();
    act();
  }
}

/** The parts of a name lie side by side, which browsers copy as lines. @param {ClipboardEvent & { currentTarget: HTMLElement }} event */
function wholeNames(event) {
  const selection = getSelection();
  const inside = (/** @type {Element} */ each) => selection?.containsNode(each, true);
  const lines = [...event.currentTarget.querySelectorAll('tr')].map((row) =>
    [...row.cells].filter(inside).map((cell) => cell.ariaLabel ?? cell.textContent),
  );
  const cells = lines.flat().length;
  const text = cells > 1 ? lines.map((line) => line.join('\t')).join('\n').trim() : String(selection).replaceAll('\n', '');
  event.clipboardData?.setData('text/plain', text.replaceAll('\u00a0', ' '));
  event.preventDefault();
}

/** @param {Column} column */
const kind = ({ numeric, minor, wide }) => [numeric && 'numeric', minor && 'minor', wide && 'wide'].filter(Boolean).join(' ');

/** @param {number} height @param {number} columns */
const spacer = (height, columns) =>
  height > 0
    ? h(
        'tr',
        { class: 'spacer', 'aria-hidden': 'true', role: 'presentation', vars: { '--row': `${height}px` } },
        h('td', { colspan: columns }),
      )
    : null;

/** @param {Content} content @returns {(Row | Heading)[]} */
function arrange({ rows, columns, sort, group, closed }) {
  const column = columns.find(({ id }) => id === sort.column) ?? columns[0];
  const value = column.id === 'name' ? (/** @type {Row} */ row) => row.key : column.value;
  const keyed = rows.map((row) => ({ row, value: value(row) }));
  const turn = sort.descending ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.value === b.value) return a.row.key < b.row.key ? -1 : 1;
    // What is not known comes last, whichever way the column is sorted.
    if (a.value === null || b.value === null) return a.value === null ? 1 : -1;
    return (a.value < b.value ? -1 : 1) * turn;
  });
  const sorted = keyed.map(({ row }) => row);
  const of = GROUPS[group];
  if (!of) return sorted;
  /** @type {Map<string, Row[]>} */
  const groups = new Map();
  for (const row of sorted) {
    const members = groups.get(of(row));
    if (members) members.push(row);
    else groups.set(of(row), [row]);
  }
  return [...groups].flatMap(([key, members]) => [
    {
      group: key,
      count: members.length,
      closed: closed.includes(key),
    },
    ...(closed.includes(key) ? [] : members),
  ]);
}

/** Up to the layer's number, where names of many layers begin alike. */
const SHARED = /^(.*?[.])(\d+[.])(?=.)/u;

/** A name whose end stays in sight: what comes before the role gives way first. @param {Row} row */
function rowName({ name: text }) {
  const full = middle(seen(text));
  const [head = '', path, layer] = SHARED.exec(full) ?? [];
  return h(
    'span',
    { class: 'name row-name', title: plain(text) },
    head ? [h('bdi', { class: 'head muted' }, path), h('bdi', { class: 'layer muted' }, layer)] : null,
    h('bdi', null, full.slice(head.length)),
  );
}

/** The column that every table starts with. @type {Column} */
export const NAME_COLUMN = { id: 'name', label: 'Name', value: ({ name }) => name, cell: rowName };

/** @type {Column} */
export const SHAPE_COLUMN = {
  id: 'shape',
  label: 'Shape',
  numeric: true,
  minor: true,
  value: (row) => row.shape.join('x'),
  cell: (row) => shape(row.shape),
};

/** The finding of a row, in a word. @type {Column} */
export const FINDING_COLUMN = {
  id: 'finding',
  label: 'Remark',
  value: ({ findings }) => findings.map(({ severity, message }) => `${severity}: ${sentence(message)}`).join(' ') || null,
  cell: ({ findings }) =>
    findings
      .slice(0, 1)
      .map(({ severity, message }) =>
        h('span', { class: `status ${severity}`, title: plain(message) }, icon(severity), ` ${severity}`),
      ),
};
