// @ts-check
// What Inspect and Compare share: picture, filter bar and table over one set of rows.

import { button, checkbox, h, live, nextFrame, scaleChoice, segmented, select, under } from '../dom.js';
import { exact, plural } from '../format.js';
import { brushed, visible } from '../model/filter.js';
import { isLog } from '../model/measures.js';
import { layerText } from '../model/place.js';
import { depthLines } from './chart.js';
import { BytesMap } from './map.js';
import { GROUPS, TensorTable } from './table.js';

/** @import { App } from '../app.js' */
/** @import { Row, State } from '../types.js' */
/** @import { Measure } from '../model/measures.js' */
/** @import { Column } from './table.js' */

/**
 * @typedef {{ name(state: State): string, rows(state: State): Row[], measures(state: State): Measure[], columns(state: State): Column[], tools?(state: State, measure: Measure): import('../dom.js').Child[], watch?(state: State): unknown[] }} Topic
 *   what is explored; all but `tools` give the same object as long as nothing changed; the `name` is for exports
 */

/** @param {State} state @param {Topic} topic */
const measureOf = (state, topic) => {
  const all = topic.measures(state);
  return state.measure.map((chosen) => all.find(({ id }) => id === chosen)).find(Boolean) ?? all[0];
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
  return h('section', { class: 'picture-panel', 'aria-label': 'Picture' }, pictureBar(app, signal, topic), map.element, depth);
}

/** What the picture shows, and how. @param {App} app @param {AbortSignal} signal @param {Topic} topic */
const pictureBar = ({ store, actions }, signal, topic) =>
  live(
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
        rows.some(({ group }) => group.layer === layer && group.expert !== null);
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
          actions.showMeasure,
        ),
        kind === 'depth'
          ? null
          : scaleChoice('Scale', log, (value) => store.set({ log: value })),
        open === null
          ? null
          : button('All layers', () => store.set({ open: null, cell: null }), { 'data-key': 'layers' }),
        ...(topic.tools?.(store.state, measure) ?? []),
        experts
          ? button('Experts', () => store.set({ open: layer, cell: null }), { 'aria-label': `Experts of ${layerText(layer)}`, 'data-key': 'experts' })
          : null,
      ];
    },
  );

/** What the table shows depends on. @param {State} state @param {Topic} topic */
const contentOf = (state, topic) => ({
  rows: topic.rows(state),
  measure: measureOf(state, topic),
  columns: topic.columns(state),
  filter: state.filter,
  cell: state.cell,
  open: state.open,
  brush: state.brush,
  log: state.log,
  revision: state.revision,
  sort: state.sort,
  group: state.group,
  closed: state.closed,
  tensor: state.tensor,
  hidden: state.prefs.hidden,
  dense: state.prefs.dense,
});

/**
 * Adds the table in a frame of its own: of a large model, picture and table are much work together.
 * @param {Element} main @param {Parameters<typeof tableSection>} of
 */
export const addTable = (main, ...of) => nextFrame().then(() => of[1].aborted || main.append(tableSection(...of)));

/** @param {App} app @param {AbortSignal} signal @param {Topic} topic @param {string} caption */
function tableSection(app, signal, topic, caption) {
  const { store, actions } = app;
  const table = new TensorTable({
    onSelect: (name, opened) => actions.select(name, !opened),
    onSort: (column) =>
      store.set({ sort: { column, descending: store.state.sort.column === column && !store.state.sort.descending } }),
    onToggle: (group) => store.set({ closed: toggled(store.state.closed, group) }),
  });
  app.table = table;
  signal.addEventListener('abort', () => (app.table = null));

  const found = h('span', { class: 'num muted', role: 'status' });
  /** @type {Partial<ReturnType<typeof contentOf>>} */
  let last = {};
  /** @type {Row[]} */
  let shown = [];
  /** @type {Column[]} */
  let kept = [];
  store.watch(
    (state) => Object.values(contentOf(state, topic)),
    () => {
      const { state } = store;
      const content = contentOf(state, topic);
      const { rows, measure, columns, brush, hidden, sort, group, closed, tensor, dense } = content;
      const changed = (/** @type {(keyof typeof content)[]} */ ...names) => names.some((name) => content[name] !== last[name]);
      // A measure that arrives while the table is sorted by it moves rows only once it is complete.
      if (changed('rows', 'measure', 'filter', 'cell', 'open', 'brush', 'log') || (changed('revision') && brushed(brush)))
        shown = visible(rows, state, measure);
      else if (changed('revision')) shown = [...shown];
      if (changed('columns', 'hidden')) kept = columns.filter(({ id }) => !hidden.includes(id));
      last = content;
      table.update({ rows: shown, columns: kept, sort, group, closed, tensor, dense, caption });
      found.textContent =
        shown.length === rows.length
          ? plural(rows.length, 'tensor')
          : `${exact(shown.length)} of ${plural(rows.length, 'tensor')}`;
    },
    signal,
  );

  return h(
    'section',
    { class: 'table-panel', 'aria-label': caption },
    h(
      'search',
      { class: 'bar' },
      filterBox(app, signal),
      groupChoice(app, signal),
      found,
      h('span', { class: 'grow' }),
      h('div', { class: 'inline' }, columnMenu(app, signal, topic), exportButtons(table, () => topic.name(store.state))),
    ),
    table.element,
  );
}

/** @param {App} app @param {AbortSignal} signal */
function filterBox({ store }, signal) {
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
  return filter;
}

/** How rows are grouped, and the way out of what the picture leaves out. @param {App} app @param {AbortSignal} signal */
const groupChoice = ({ store }, signal) =>
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
      cell !== null || brushed(brush)
        ? button('Clear picture filter', () => store.set({ cell: null, brush: [0, 1] }), { 'data-key': 'clear' })
        : null,
    ],
  );

/** Which columns there are: a menu and its button. @param {App} app @param {AbortSignal} signal @param {Topic} topic */
function columnMenu({ store, actions }, signal, topic) {
  const menu = live(
    store,
    signal,
    h('div', { id: 'columns', class: 'menu', popover: 'auto' }),
    (state) => [topic.columns(state), state.prefs.hidden],
    ([columns, hidden]) =>
      columns.slice(1).map(({ id, label }) =>
        checkbox(`column ${id}`, !hidden.includes(id), label, () => actions.prefer({ hidden: toggled(hidden, id) })),
      ),
  );
  const opener = h('button', { type: 'button', popovertarget: 'columns' }, 'Columns');
  under(menu, opener);
  return [opener, menu];
}

/** @param {TensorTable} table @param {() => string} name */
const exportButtons = (table, name) =>
  /** @type {const} */ (['csv', 'json']).map((kind) => {
    const label = kind.toUpperCase();
    return button(label, () => table.export(kind, name()), { 'aria-label': `Export as ${label}` });
  });

/** A list without an item that it has, or with one that it has not. @param {string[]} list @param {string} item */
const toggled = (list, item) => (list.includes(item) ? list.filter((other) => other !== item) : [...list, item]);
