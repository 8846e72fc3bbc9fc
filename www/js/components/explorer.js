// @ts-check
// What Inspect and Compare share: picture, filter bar and table over one set of rows.

import { button, h, live, segmented, select, under } from '../dom.js';
import { exact, plural } from '../format.js';
import { visible } from '../model/filter.js';
import { isLog } from '../model/measures.js';
import { depthLines } from './chart.js';
import { BytesMap } from './map.js';
import { GROUPS, TensorTable } from './table.js';

/** @import { App } from '../app.js' */
/** @import { Row, State } from '../types.js' */
/** @import { Measure } from '../model/measures.js' */
/** @import { Column } from './table.js' */

/**
 * @typedef {{ rows(state: State): Row[], measures(state: State): Measure[], columns(state: State): Column[], tools?(state: State): import('../dom.js').Child[], watch?(state: State): unknown[] }} Topic
 *   what is explored; all but `tools` give the same object as long as nothing changed
 */

/** @param {State} state @param {Topic} topic */
const measureOf = (state, topic) => {
  const all = topic.measures(state);
  return all.find(({ id }) => id === state.measure) ?? all[0];
};

/** @param {App} app @param {AbortSignal} signal @param {Topic} topic */
export function picture(app, signal, topic) {
  const { store, actions } = app;
  const map = new BytesMap({
    onBrush: (brush) => store.set({ brush }),
    onCell: (cell) => {
      if (cell.rows.length === 1) {
        const [{ name }] = cell.rows;
        actions.select(name === store.state.tensor ? null : name);
      } else store.set({ cell: store.state.cell === cell.key ? null : cell.key });
    },
  });
  const depth = h('div');
  store.watch(
    (state) => [
      topic.rows(state),
      measureOf(state, topic),
      isLog(state, measureOf(state, topic)),
      state.picture,
      state.tensor,
      state.cell,
      state.open,
      state.brush,
      state.revision,
    ],
    ([rows, measure, log, kind, tensor, cell, open, brush]) => {
      map.element.hidden = kind === 'depth';
      depth.hidden = kind !== 'depth';
      if (kind === 'depth') depth.replaceChildren(depthLines(rows, measure, tensor, (name) => actions.select(name)));
      else map.update({ rows, measure, log, area: kind === 'area', open, tensor, cell, brush });
    },
    signal,
  );
  const bar = live(
    store,
    signal,
    h('div', { class: 'bar' }),
    (state) => [
      state.picture,
      measureOf(state, topic),
      isLog(state, measureOf(state, topic)),
      state.open,
      state.cell,
      topic.rows(state),
      ...(topic.watch?.(state) ?? []),
    ],
    ([kind, measure, log, open, cell, rows]) => {
      const layer = cell?.split('/')[1];
      const experts =
        layer !== undefined &&
        open === null &&
        rows.some(({ group }) => String(group.layer) === layer && group.expert !== null);
      return [
        segmented(
          'Picture',
          [
            ['map', 'Map'],
            ['area', 'Area'],
            ['depth', 'Depth'],
          ],
          kind,
          (value) => store.set({ picture: /** @type {State['picture']} */ (value) }),
        ),
        select(
          'Measure',
          topic.measures(store.state).map(({ id, label }) => [id, label]),
          measure.id,
          (value) => store.set({ measure: value, brush: [0, 1], log: null }),
        ),
        kind === 'depth'
          ? null
          : segmented(
              'Scale',
              [
                ['linear', 'Linear'],
                ['log', 'Log'],
              ],
              log ? 'log' : 'linear',
              (value) => store.set({ log: value === 'log' }),
            ),
        experts
          ? button(`Experts of layer ${layer}`, () => store.set({ open: layer, cell: null }), { 'data-key': 'experts' })
          : null,
        open === null
          ? null
          : button('All layers', () => store.set({ open: null, cell: null }), { 'data-key': 'layers' }),
        ...(topic.tools?.(store.state) ?? []),
      ];
    },
  );
  return h('section', { class: 'picture-panel', 'aria-label': 'Picture' }, bar, map.element, depth);
}

/** @param {App} app @param {AbortSignal} signal @param {Topic} topic @param {string} caption */
export function tableSection(app, signal, topic, caption) {
  const { store, actions } = app;
  const table = new TensorTable({
    onSelect: (name, opened) => actions.select(name, !opened),
    onSort: (column) =>
      store.set({ sort: { column, descending: store.state.sort.column === column && !store.state.sort.descending } }),
    onToggle: (group) =>
      store.set({
        closed: store.state.closed.includes(group)
          ? store.state.closed.filter((other) => other !== group)
          : [...store.state.closed, group],
      }),
  });
  app.table = table;
  signal.addEventListener('abort', () => (app.table = null));

  const found = h('span', { class: 'num muted', role: 'status' });
  /** @type {unknown[]} */
  let last = [];
  /** @type {Row[]} */
  let shown = [];
  store.watch(
    (state) => [topic.rows(state), measureOf(state, topic), topic.columns(state), state],
    ([rows, measure, columns, state]) => {
      const deps = [
        rows,
        measure,
        columns,
        state.filter,
        state.cell,
        state.open,
        state.brush,
        state.sort,
        state.group,
        state.closed,
        state.tensor,
        state.prefs,
        state.log,
        state.revision,
      ];
      if (deps.every((value, i) => Object.is(value, last[i]))) return;
      const filtering =
        [0, 1, 3, 4, 5, 6, 12].some((i) => !Object.is(deps[i], last[i])) ||
        ((state.brush[0] > 0 || state.brush[1] < 1) && state.revision !== last[13]);
      // A measure that arrives while the table is sorted by it moves rows only once it is complete.
      if (filtering) shown = visible(rows, state, measure);
      else if (state.revision !== last[13]) shown = [...shown];
      last = deps;
      const hidden = new Set(state.prefs.hidden);
      const kept = columns.filter(({ id }) => !hidden.has(id));
      table.update({
        rows: shown,
        columns: columnsOf(kept, columns),
        sort: state.sort,
        group: state.group,
        closed: state.closed,
        tensor: state.tensor,
        dense: state.prefs.dense,
        caption,
      });
      found.textContent =
        shown.length === rows.length
          ? plural(rows.length, 'tensor')
          : `${exact(shown.length)} of ${plural(rows.length, 'tensor')}`;
    },
    signal,
  );

  const filter = h('input', {
    type: 'search',
    id: 'filter',
    placeholder: 'Filter',
    'aria-label': 'Filter tensors',
    'aria-keyshortcuts': '/',
    autocomplete: 'off',
    spellcheck: 'false',
    value: store.state.filter,
    on: { input: () => store.set({ filter: filter.value }) },
  });
  store.watch(
    (state) => [state.filter],
    ([text]) => text !== filter.value && (filter.value = text),
    signal,
  );

  const columnMenu = live(
    store,
    signal,
    h('div', { id: 'columns', class: 'menu', popover: 'auto' }),
    (state) => [topic.columns(state), state.prefs.hidden],
    ([columns, hidden]) =>
      columns.slice(1).map(({ id, label }) =>
        h(
          'label',
          null,
          h('input', {
            type: 'checkbox',
            checked: !hidden.includes(id),
            'data-key': `column ${id}`,
            on: {
              change: () =>
                actions.prefer({
                  hidden: hidden.includes(id) ? hidden.filter((other) => other !== id) : [...hidden, id],
                }),
            },
          }),
          ` ${label}`,
        ),
      ),
  );
  const columnButton = h('button', { type: 'button', popovertarget: 'columns' }, 'Columns');
  under(columnMenu, columnButton);

  return h(
    'section',
    { class: 'table-panel', 'aria-label': caption },
    h(
      'search',
      { class: 'bar' },
      filter,
      live(
        store,
        signal,
        h('div', { class: 'inline' }),
        (state) => [state.group, state.cell, state.brush],
        ([group, cell, brush]) => [
          select(
            'Group by',
            [
              ['', 'No groups'],
              ...Object.keys(GROUPS).map((key) => /** @type {[string, string]} */ ([key, `By ${key}`])),
            ],
            group,
            (value) => store.set({ group: value, closed: [] }),
          ),
          cell !== null || brush[0] > 0 || brush[1] < 1
            ? button('Clear picture filter', () => store.set({ cell: null, brush: [0, 1] }), { 'data-key': 'clear' })
            : null,
        ],
      ),
      found,
      h('span', { class: 'grow' }),
      h(
        'div',
        { class: 'inline' },
        columnButton,
        columnMenu,
        button('CSV', () => table.export('csv'), { 'aria-label': 'Export as CSV' }),
        button('JSON', () => table.export('json'), { 'aria-label': 'Export as JSON' }),
      ),
    ),
    table.element,
  );
}

/** @type {WeakMap<Column[], { kept: string, columns: Column[] }>} */
const keptColumns = new WeakMap();

/** The same list as long as the choice is the same. @param {Column[]} kept @param {Column[]} all */
function columnsOf(kept, all) {
  const key = kept.map(({ id }) => id).join();
  const before = keptColumns.get(all);
  if (before?.kept === key) return before.columns;
  keptColumns.set(all, { kept: key, columns: kept });
  return kept;
}
