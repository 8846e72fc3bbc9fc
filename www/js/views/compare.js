// @ts-check
// Compare: two deltas or two models side by side, joined by tensor name.

import { button, facts, h, item, live, nextFrame, renewed, segmented } from '../dom.js';
import { breakable, bytes, cosine, count, exact, number, operation, percent, plural, shape, shortHash } from '../format.js';
import { PAIR_MEASURES } from '../model/measures.js';
import { entryOf, joined, leansOnBase, modelRows, rowNamed, rowsOf } from '../model/rows.js';
import { addTable, picture } from '../components/explorer.js';
import { jobArea } from '../components/job.js';
import { blocked, entrySelect, isRunning, missing, status } from '../components/parts.js';
import { findingList } from '../components/problem.js';
import { NAME_COLUMN, SHAPE_COLUMN } from '../components/table.js';
import { choose, detailsHead, detailsPanel } from './details.js';

/** @import { App } from '../app.js' */
/** @import { DiffTensor, DiffReport, Entry, Finding, Row, State } from '../types.js' */
/** @import { Column } from '../components/table.js' */

/** @param {(diff: DiffTensor) => number | null} value @param {(value: number | null) => string} text @returns {Pick<Column, 'value' | 'cell'>} */
const ofDiff = (value, text) => ({
  value: ({ diff }) => (diff ? value(diff) : null),
  cell: ({ diff }) => (diff ? text(value(diff)) : '–'),
});

/** @type {Column[]} */
const DIFF_COLUMNS = [
  { id: 'distance', label: 'Distance', numeric: true, ...ofDiff((diff) => diff.distance, number) },
  { id: 'relative', label: 'Relative', unit: 'to A', numeric: true, minor: true, ...ofDiff((diff) => diff.relative, percent) },
  { id: 'cosine', label: 'Cosine', numeric: true, ...ofDiff((diff) => diff.cosine, cosine) },
  {
    id: 'equal',
    label: 'Equal values',
    numeric: true,
    minor: true,
    ...ofDiff((diff) => (diff.elements ? diff.equal / diff.elements : 1), percent),
  },
];

/** @type {Column[]} */
const DELTA_COLUMNS = [
  NAME_COLUMN,
  SHAPE_COLUMN,
  {
    id: 'strategy',
    label: 'Operation',
    minor: true,
    value: (row) => `${row.side === 'b' ? '' : row.strategy}→${row.b?.strategy ?? ''}`,
    cell: (row) =>
      row.side === 'a'
        ? `${row.strategy} · only in A`
        : row.side === 'b'
          ? `${row.strategy} · only in B`
          : row.strategy === row.b?.strategy
            ? row.strategy
            : `${row.strategy} → ${row.b?.strategy}`,
  },
  {
    id: 'bytes',
    label: 'Stored A',
    numeric: true,
    value: (row) => (row.side === 'b' ? null : row.bytes),
    cell: (row) => (row.side === 'b' ? '–' : bytes(row.bytes)),
  },
  {
    id: 'bytesB',
    label: 'Stored B',
    numeric: true,
    value: (row) => row.b?.bytes ?? null,
    cell: (row) => (row.b ? bytes(row.b.bytes) : '–'),
  },
  {
    id: 'difference',
    label: 'A − B',
    numeric: true,
    minor: true,
    value: (row) => row.bytes - (row.b?.bytes ?? 0),
    cell: (row) => PAIR_MEASURES.difference[0].text(row.bytes - (row.b?.bytes ?? 0)),
  },
];
const WITH_DIFF = [...DELTA_COLUMNS, ...DIFF_COLUMNS];
const MODEL_COLUMNS = [
  NAME_COLUMN,
  {
    id: 'elements',
    label: 'Parameters',
    numeric: true,
    value: (/** @type {Row} */ row) => row.elements,
    cell: (/** @type {Row} */ row) => count(row.elements),
  },
  ...DIFF_COLUMNS,
];
const MODEL_MEASURES = PAIR_MEASURES.difference.filter(({ needs }) => needs === 'diff');

/** The two that are compared: as chosen, else the first two of a kind. @param {State} state @returns {[Entry, Entry] | null} */
export function pairOf({ entries, compare, active }) {
  const usable = entries.filter(({ state, role }) => state === 'ready' && role !== 'unknown');
  const chosen = (/** @type {string | null} */ id) => usable.find((entry) => entry.id === id);
  const kind = (/** @type {Entry} */ entry) => entry.role === 'delta';
  const first = chosen(compare.a) ?? chosen(active) ?? usable[0];
  if (!first) return null;
  const second = chosen(compare.b);
  const other =
    second && second !== first && kind(second) === kind(first)
      ? second
      : usable.find((entry) => entry !== first && kind(entry) === kind(first));
  if (other) return [first, other];
  const models = usable.filter((entry) => !kind(entry));
  return models.length > 1 ? [models[0], models[1]] : null;
}

/** @param {State} state @param {[Entry, Entry]} pair */
const diffOf = ({ compare }, [a, b]) => (compare.diff?.key === `${a.id}:${b.id}` ? compare.diff.result : null);

/** @param {App} app @param {AbortSignal} signal */
export const compareView = (app, signal) =>
  renewed(
    app.store,
    signal,
    (state) => {
      const pair = pairOf(state);
      return [pair?.[0].id, pair?.[1].id, pair ? null : state.entries];
    },
    ([a, , entries], inner) =>
      a
        ? compare(app, inner)
        : [
            missing(app, 'Compare two deltas or two models', [
              [Boolean(entries?.some(({ role }) => role === 'delta')), 'A first .wdelta file, or a model.'],
              [false, 'A second one of the same kind.'],
            ]),
          ],
  );

/** @param {App} app @param {AbortSignal} signal */
function compare(app, signal) {
  const { store, actions, jobs } = app;
  const pair = () => /** @type {[Entry, Entry]} */ (pairOf(store.state));
  const models = () => !pair()[0].info;
  /** @type {{ deps: unknown[], rows: Row[] }} */
  let memo = { deps: [], rows: [] };
  const rows = (/** @type {State} */ state) => {
    const both = pairOf(state);
    if (!both) return memo.rows;
    const [a, b] = both;
    const deps = [a.info, b.info];
    if (!a.info) return modelRows(diffOf(state, both)) ?? memo.rows;
    if (!deps.every((value, i) => value === memo.deps[i])) memo = { deps, rows: joined(rowsOf(a), rowsOf(b)) };
    return memo.rows;
  };
  // Rows stay as they are, and with them the picture: of many it takes its time.
  store.watch(
    (state) => [diffOf(state, pair())],
    ([diff]) => {
      if (!diff || models()) return;
      const diffs = new Map(diff.tensors.map((each) => [each.name, each]));
      for (const row of rows(store.state)) row.diff = diffs.get(row.name);
      store.set({ revision: store.state.revision + 1 });
    },
    signal,
  );
  const topic = {
    name: () => pair().map(({ name }) => name).join(' and '),
    rows,
    measures: (/** @type {State} */ state) => (models() ? MODEL_MEASURES : PAIR_MEASURES[state.compare.side]),
    columns: (/** @type {State} */ state) =>
      models() ? MODEL_COLUMNS : diffOf(state, pair()) ? WITH_DIFF : DELTA_COLUMNS,
    watch: (/** @type {State} */ state) => [state.compare, state.job?.state],
    tools: (/** @type {State} */ state) => [
      models()
        ? null
        : segmented(
            'Side',
            [
              ['a', 'A'],
              ['b', 'B'],
              ['difference', 'A − B'],
            ],
            state.compare.side,
            (side) => store.dispatch({ type: 'merge', part: 'compare', values: { side } }),
          ),
    ],
  };
  const measure = () => actions.diff(pair());
  const explored = h('div', { class: 'main-column' });
  // Of models nothing is known before they are compared.
  store.watch(
    (state) => [!models() || diffOf(state, pair())],
    async ([known]) => {
      if (!known) return;
      // The joining of many names takes its time, too.
      await nextFrame();
      if (signal.aborted || explored.firstChild) return;
      explored.append(picture(app, signal, topic));
      void addTable(explored, app, signal, topic, 'Tensors of both');
    },
    signal,
  );
  return [
    live(
      store,
      signal,
      h('div', { class: 'summary' }),
      (state) => [state.entries, state.compare, state.job?.state, rows(state), entryOf(state, 'base')],
      ([entries, , , all]) => {
        const [a, b] = pair();
        const diff = diffOf(store.state, pair());
        const usable = entries.filter(({ state, role }) => state === 'ready' && role !== 'unknown');
        const same = (/** @type {Entry} */ entry) => (entry.role === 'delta') === (a.role === 'delta') && entry !== a;
        const pick = (/** @type {'a' | 'b'} */ side) => (/** @type {string} */ id) =>
          store.dispatch({ type: 'merge', part: 'compare', values: { [side]: id } });
        const why = blocked(store.state);
        const base = entryOf(store.state, 'base');
        return [
          h('h1', { class: 'sr' }, 'Compare'),
          h(
            'div',
            { class: 'pair' },
            entrySelect('A', usable, a.id, pick('a')),
            entrySelect('B', usable.filter(same), b.id, pick('b')),
          ),
          (a.info && b.info) || diff ? pairFacts(all, a, b, diff) : null,
          diff
            ? null
            : h(
                'div',
                { class: 'actions' },
                isRunning(store.state.job, 'diff')
                  ? button('Stop', () => jobs.cancel(), { 'data-key': 'diff' })
                  : leansOnBase(a) && leansOnBase(b) && a.info?.baseHash !== b.info?.baseHash
                    ? h('span', { class: 'muted' }, 'Made against different models: only sizes can be compared.')
                  : !base && (leansOnBase(a) || leansOnBase(b))
                    ? [
                        h('span', { class: 'muted' }, 'Measuring how alike they are needs the base. '),
                        button('Open the base…', () => actions.pickFiles()),
                      ]
                    : button(`Measure similarity, reads ${bytes(a.size + b.size + (a.info ? (base?.size ?? 0) : 0))}`, measure, {
                      class: 'primary',
                      disabled: why,
                      'data-key': 'diff',
                    }),
              ),
        ];
      },
    ),
    h(
      'div',
      { class: 'split-view' },
      h(
        'div',
        { class: 'main-column' },
        jobArea(app, signal, 'diff', { retry: measure }),
        explored,
      ),
      detailsPanel(
        app,
        signal,
        (state) => [rowNamed(rows(state), state.tensor), diffOf(state, pair())],
        ([row, diff]) => (row ? rowDetails(app, row) : diff ? totals(app, diff) : models() ? null : choose()),
      ),
    ),
  ];
}

/** @param {Row[]} rows @param {Entry} a @param {Entry} b @param {DiffReport | null} diff */
function pairFacts(rows, a, b, diff) {
  const only = (/** @type {'a' | 'b'} */ side) => (diff && !a.info ? diff[side === 'a' ? 'onlyA' : 'onlyB'] : rows.filter((row) => row.side === side)).length;
  const both = rows.filter(({ side }) => !side).length;
  return h(
    'dl',
    null,
    item(
      'In both',
      `${exact(both)} of ${plural(both + only('a'), 'tensor')}`,
      only('a') && only('b') ? h('span', { class: 'muted' }, 'compared by name; renamed ones are not found') : null,
    ),
    item('Only in A', exact(only('a'))),
    item('Only in B', exact(only('b'))),
    a.info && b.info
      ? [
          item('Stored, A − B', PAIR_MEASURES.difference[0].text(a.info.bytes - b.info.bytes)),
          // What the bytes buy. Version 1 does not say.
          leansOnBase(a) && leansOnBase(b) ? item('Error of the delta', [a, b].map(({ info }) => percent(info?.loss?.relativeError ?? 0)).join(', ')) : null,
          item(
            'Base',
            a.info.baseHash === b.info.baseHash
              ? status('ok', `same, ${shortHash(a.info.baseHash)}`)
              : a.info.version !== b.info.version
                ? status('note', 'versions 1 and 2 hash it differently')
                : status('note', `${shortHash(a.info.baseHash)} and ${shortHash(b.info.baseHash)}`),
          ),
        ]
      : null,
    diff
      ? [
          item('Distance', number(diff.totals.distance)),
          item('Relative to A', percent(diff.totals.relative)),
          item('Cosine', cosine(diff.totals.cosine)),
        ]
      : null,
  );
}

/** @param {App} app @param {Row} row */
function rowDetails(app, row) {
  return [
    detailsHead(app, row),
    facts([
      ['Shape', row.dtype && shape(row.shape)],
      ['Parameters', exact(row.elements)],
      ['A', row.strategy && (row.side === 'b' ? 'absent' : `${row.strategy}, ${exact(row.bytes)} B`)],
      ['B', row.strategy && (row.b ? `${row.b.strategy}, ${exact(row.b.bytes)} B` : 'absent')],
      ['Distance', row.diff && number(row.diff.distance)],
      ['Relative to A', row.diff && percent(row.diff.relative)],
      ['Cosine', row.diff && cosine(row.diff.cosine)],
      ['Equal values', row.diff && `${exact(row.diff.equal)} of ${exact(row.diff.elements)}`],
    ]),
  ];
}

/** @param {App} app @param {DiffReport} diff */
function totals({ actions }, diff) {
  /** @type {Finding[]} */
  const findings = [
    ...diff.changed.map(
      ({ name: tensor, a, b, what }) =>
        /** @type {Finding} */ ({
          severity: what === 'strategy' ? 'note' : 'warning',
          code: what.toUpperCase(),
          // A file has a strategy, a tensor in it an operation.
          message: `${what === 'strategy' ? 'operation' : what} ${operation(a)} in A, ${operation(b)} in B`,
          tensor,
        }),
    ),
    .../** @type {const} */ (['A', 'B']).flatMap((side) =>
      diff[`only${side}`].map((tensor) => /** @type {Finding} */ ({ severity: 'note', code: side, message: `Only in ${side}`, tensor })),
    ),
  ];
  const nearest = [...diff.tensors].sort((x, y) => (y.relative ?? 0) - (x.relative ?? 0)).slice(0, 5);
  return [
    h('h2', null, 'Differences'),
    findings.length
      ? findingList(findings, (tensor) => actions.select(tensor))
      : h('p', null, 'Names, shapes, dtypes and operations are the same.'),
    h('h3', null, 'Furthest apart'),
    h(
      'ul',
      { class: 'plain-list pairs' },
      nearest.map((tensor) =>
        h(
          'li',
          null,
          button(breakable(tensor.name), () => actions.select(tensor.name), { class: 'link' }),
          h('span', { class: 'num muted' }, ` ${percent(tensor.relative)}`),
        ),
      ),
    ),
  ];
}
