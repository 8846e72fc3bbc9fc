// @ts-check
// Inspect: what is in a delta, what it belongs to, whether it is intact.

import { button, h, item, live, renewed } from '../dom.js';
import { bytes, count, exact, name, number, percent, plural, prose } from '../format.js';
import { checkKey } from '../model/chain.js';
import { MEASURES } from '../model/measures.js';
import { activeEntry, entryOf, leansOnBase, rowNamed, rowsOf } from '../model/rows.js';
import { addTable, picture } from '../components/explorer.js';
import { fileStrip } from '../components/file.js';
import { jobArea } from '../components/job.js';
import { blocked, hashView, isRunning, missing, status } from '../components/parts.js';
import { findingList } from '../components/problem.js';
import { PRIVACY } from '../components/shell.js';
import { FINDING_COLUMN, NAME_COLUMN, SHAPE_COLUMN } from '../components/table.js';
import { baseWith, detailsPanel, fileDetails, tensorDetails } from './details.js';

/** @import { App } from '../app.js' */
/** @import { Entry, Row, State } from '../types.js' */
/** @import { Column } from '../components/table.js' */
/** @import { Measure } from '../model/measures.js' */

/** @type {Column[]} */
const COLUMNS = [
  NAME_COLUMN,
  SHAPE_COLUMN,
  { id: 'strategy', label: 'Operation', minor: true, value: (row) => row.strategy, cell: (row) => row.strategy },
  { id: 'bytes', label: 'Stored', numeric: true, value: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
  {
    id: 'bits',
    label: 'Bits',
    unit: '/ param',
    numeric: true,
    minor: true,
    value: (row) => MEASURES[1].of([row]),
    cell: (row) => number(MEASURES[1].of([row])),
  },
  ...MEASURES.slice(2).map(
    (measure) =>
      /** @type {Column} */ ({
        id: measure.id,
        label: measure.short ?? measure.label,
        numeric: true,
        minor: measure.id !== 'rms' && measure.id !== 'error',
        wide: measure.id === 'rms',
        value: (row) => measure.of([row]),
        cell: (row) => {
          const value = measure.of([row]);
          return value === null ? '–' : measure.text(value);
        },
      }),
  ),
  FINDING_COLUMN,
];

/** @typedef {{ measures: Measure[], columns: Column[] }} Offer */
/** @type {{ entry: Entry | undefined, base: Entry | undefined, offer: Offer } | null} */
let last = null;

/**
 * What a delta can be measured by, and the columns for that. They do not depend on what has been measured, so that none
 * comes or goes under a hand that measures.
 * @param {State} state
 * @returns {Offer} the same one for the same files
 */
function offerOf(state) {
  const entry = activeEntry(state);
  const base = entryOf(state, 'base');
  if (last && last.entry === entry && last.base === base) return last.offer;
  const rows = rowsOf(entry);
  const int4 = rows.some(({ strategy }) => strategy === 'int4');
  const told = Boolean(entry?.made ?? entry?.info?.loss);
  const measures = MEASURES.filter(({ id, needs }) => (id === 'outliers' ? int4 : needs !== 'made' || told));
  // Sizes tell of shapes, which are known; bits of how much there was to say, except in version 1, where a rule sets them.
  if (leansOnBase(entry)) measures.unshift(...measures.splice(1, 1));
  /** @type {Record<string, boolean>} */
  const has = {
    stats: !leansOnBase(entry) || Boolean(base),
    base: Boolean(base),
    made: rows.some(({ error, loss }) => error?.relativeError || loss),
  };
  const columns = COLUMNS.filter(({ id }) => {
    if (id === 'finding') return rows.some(({ findings }) => findings.length);
    const measure = MEASURES.find((each) => each.id === id);
    return !measure || (measures.includes(measure) && (has[measure.needs] ?? true));
  });
  const offer = { measures, columns };
  last = { entry, base, offer };
  return offer;
}

/** @param {App} app @param {AbortSignal} signal */
export const inspectView = (app, signal) =>
  // Built anew for another file; everything inside follows the state.
  renewed(
    app.store,
    signal,
    (state) => [state.active, activeEntry(state)?.info ?? state.entries],
    (_, inner) => {
      const { state } = app.store;
      const entry = activeEntry(state);
      return entry?.info ? explore(app, inner) : [state.entries.length ? waiting(app, entry) : dropZone(app)];
    },
  );

/** What can be done with which files. */
const JOURNEYS = [
  ['Inspect', 'a delta', 'tensors, sizes, strength by layer, remarks'],
  ['Compare', 'two deltas, or two models', 'what differs, and by how much'],
  ['Lineage', 'several deltas', 'which follows which, and what is verified'],
  ['Rebuild', 'deltas and their base', 'the fine-tune as .safetensors, checked'],
  ['Make', 'a base and a fine-tune', 'the delta: every bit, or smaller and close'],
];

/** @param {App} app */
function dropZone({ actions }) {
  return h(
    'section',
    { class: 'drop-zone' },
    h(
      'div',
      null,
      h('h1', null, 'Open deltas and models'),
      h(
        'p',
        null,
        'A .wdelta file holds what a fine-tune changed. Drop one to see what is in it, what it belongs to and whether it is intact.',
      ),
      h(
        'p',
        null,
        h('strong', null, 'Files stay on this machine.'),
        ` They ${PRIVACY}`,
      ),
      h(
        'div',
        { class: 'actions' },
        button('Open files…', () => actions.pickFiles(), { class: 'primary' }),
        button('Open folder…', () => actions.pickFolder()),
        button('Try the sample, 1 MB', () => actions.sample()),
      ),
      h('p', { class: 'muted' }, 'Accepted: .wdelta, .safetensors, folders with shards. Or paste an https link.'),
    ),
    h(
      'table',
      { class: 'journeys' },
      h('caption', { class: 'sr' }, 'What can be done with which files'),
      h(
        'tbody',
        null,
        JOURNEYS.map(([view, files, text]) =>
          h(
            'tr',
            null,
            h('th', { scope: 'row' }, h('a', { href: `#${view.toLowerCase()}` }, view)),
            h('td', null, files, h('div', { class: 'muted' }, text)),
          ),
        ),
      ),
    ),
  );
}

/** @param {App} app @param {Entry | undefined} entry */
function waiting(app, entry) {
  if (entry?.state === 'reading')
    return h(
      'section',
      { class: 'missing', 'aria-busy': 'true' },
      h('h1', null, name(entry.name)),
      status('wait', `${entry.reading}, ${bytes(entry.size)} file`),
    );
  const { entries } = app.store.state;
  return missing(
    app,
    'Inspect a delta',
    [
      [false, 'A .wdelta file is needed here.'],
      ...entries
        .filter(({ state }) => state === 'ready')
        .map(
          (each) =>
            /** @type {[boolean, import('../dom.js').Child[]]} */ ([
              true,
              [name(each.name), ' is open as a model: use it in Rebuild, Make or Compare.'],
            ]),
        ),
    ],
    entryOf(app.store.state, 'finetuned') && ['Make their delta', () => app.actions.go('make')],
  );
}

/** @param {App} app @param {AbortSignal} signal */
function explore(app, signal) {
  const { store, jobs, actions } = app;
  const topic = {
    name: (/** @type {State} */ state) => activeEntry(state)?.name ?? '',
    rows: (/** @type {State} */ state) => rowsOf(activeEntry(state)),
    measures: (/** @type {State} */ state) => offerOf(state).measures,
    columns: (/** @type {State} */ state) => offerOf(state).columns,
    watch: (/** @type {State} */ state) => [state.job?.state, state.job?.kind, entryOf(state, 'base')?.id],
    tools: (/** @type {State} */ state, /** @type {Measure} */ measure) => {
      const rows = rowsOf(activeEntry(state));
      const base = entryOf(state, 'base');
      // Of what the header says the way leads on to what it does not say.
      const known = /header|made/.test(measure.needs);
      if ((known ? MEASURES[2] : measure).of(rows) !== null) return known ? [] : [h('span', { class: 'muted' }, 'measured')];
      if (isRunning(state.job, 'measure'))
        return [button('Stop measuring', () => jobs.cancel(), { 'data-key': 'measure' })];
      const needsBase = measure.needs === 'base' || leansOnBase(activeEntry(state));
      if (needsBase && !base) return [button('Open base to measure…', () => actions.pickFiles(), { class: 'primary', 'data-key': 'measure' })];
      return [
        button(`Measure all changes, reads ${bytes((activeEntry(state)?.size ?? 0) + (base?.size ?? 0))}`, () => {
          if (known) actions.showMeasure('rms');
          actions.measure(null);
        }, {
          class: 'primary',
          disabled: blocked(state),
          'data-key': 'measure',
        }),
      ];
    },
  };
  const main = h(
    'div',
    { class: 'main-column' },
    picture(app, signal, topic),
    live(
      store,
      signal,
      h('div'),
      (state) => [activeEntry(state)?.info, state.tensor],
      ([info, tensor]) => (info ? fileStrip(info, rowNamed(topic.rows(store.state), tensor)) : null),
    ),
    jobArea(app, signal, 'measure', {
      retry: () => actions.measure(null),
      choose: () => actions.pickFiles(store.state.active ?? undefined),
    }),
    findingsPanel(app, signal),
  );
  void addTable(main, app, signal, topic, 'Tensors of the delta');
  const aside = detailsPanel(
    app,
    signal,
    (state) => {
      const row = rowNamed(topic.rows(state), state.tensor);
      return [
        activeEntry(state),
        row,
        row?.stats,
        state.job?.state,
        state.logCounts,
        entryOf(state, 'base'),
        state.checks,
      ];
    },
    ([entry, row]) => (entry ? (row ? tensorDetails(app, entry, row) : fileDetails(app, entry)) : null),
  );
  return [summary(app, signal), h('div', { class: 'split-view' }, main, aside)];
}

/** @param {App} app @param {AbortSignal} signal */
function summary({ store }, signal) {
  return live(
    store,
    signal,
    h('div', { class: 'summary' }),
    (state) => [activeEntry(state), entryOf(state, 'base'), state.checks],
    ([entry, base, checks]) => {
      const info = entry?.info;
      if (!entry || !info) return null;
      // A damaged file is held against no base.
      const check = base && (checks.get(checkKey(entry, base)) ?? (typeof checks.get(entry.id) === 'object' ? checks.get(entry.id) : undefined));
      return [
        h('h1', { class: 'sr' }, 'Inspect ', name(entry.name)),
        h(
          'dl',
          null,
          item('Strategy', `${info.strategy} · v${info.version}`),
          item('Tensors', exact(info.tensors.length)),
          item('Parameters', count(info.elements)),
          item('Stored', bytes(info.bytes)),
          item('Bits per parameter', number(info.elements ? (info.bytes * 8) / info.elements : null)),
          info.version === 2 ? item('Error of the delta', info.loss ? percent(info.loss.relativeError) : 'none') : null,
          // A base of another model would make it "60,000× smaller".
          base && typeof check !== 'object' && base.size > info.elements / 2 && base.size < info.elements * 9
            ? item(
                'Against the base',
                info.bytes < base.size
                  ? `${number(base.size / info.bytes)}× smaller`
                  : `${number(info.bytes / base.size)}× larger`,
              )
            : null,
          item(
            'Made against',
            hashView(info.baseHash),
            typeof check === 'number'
              ? status('ok', `matches ${baseWith(check)}`)
              : check
                ? status('error', check.code === 'WRONG_BASE' ? 'not this base' : 'check failed')
                : h('span', { class: 'muted' }, base ? 'not checked' : 'base not open'),
          ),
        ),
      ];
    },
  );
}

/** @param {App} app @param {AbortSignal} signal */
function findingsPanel({ store, actions }, signal) {
  const body = h('div');
  const label = h('summary');
  const panel = h('details', { class: 'findings-panel' }, label, body);
  store.watch(
    (state) => [activeEntry(state)?.info?.findings],
    ([findings = []]) => {
      const of = (/** @type {string} */ severity) => findings.filter((finding) => finding.severity === severity).length;
      const parts = ['error', 'warning', 'note'].flatMap((word) => (of(word) ? [plural(of(word), word)] : []));
      label.replaceChildren('Remarks ', h('span', { class: 'muted' }, findings.length === 1 ? prose(findings[0].message) : parts.join(', ') || 'nothing noticed'));
      body.replaceChildren(findingList(findings, (tensor) => actions.select(tensor)));
      panel.open = of('error') > 0;
    },
    signal,
  );
  return panel;
}
