// @ts-check
// Beside the picture of a delta: the file, or the tensor that is chosen.

import { button, facts, h, live, nextFrame } from '../dom.js';
import { breakable, bytes, exact, name, number, optionText, percent, plain, plural, sentence, shape } from '../format.js';
import { checkKey } from '../model/chain.js';
import { MEASURES } from '../model/measures.js';
import { entryOf, leansOnBase } from '../model/rows.js';
import { histogram, rowChart } from '../components/chart.js';
import { recordView } from '../components/file.js';
import { blocked, status } from '../components/parts.js';
import { copyButton, findingList, problemView } from '../components/problem.js';
import { isTelling, storedChart } from '../components/stored.js';

/** @import { App } from '../app.js' */
/** @import { Child, Entry, Row, State } from '../types.js' */

/**
 * The panel: it comes into sight with a tensor, and gives the focus back to the table.
 * @template {unknown[] | []} T
 * @param {App} app @param {AbortSignal} signal @param {(state: State) => T} select @param {(values: NoInfer<T>) => Child} render
 */
export function detailsPanel(app, signal, select, render) {
  const panel = live(app.store, signal, h('aside', { class: 'details', 'aria-label': 'Details' }), select, render);
  app.chosen = async (name) => {
    if (name === null) return panel.contains(document.activeElement) && app.table?.focus();
    // On narrow screens the details lie below, out of sight.
    await nextFrame();
    if (panel.getBoundingClientRect().top > innerHeight - 64) panel.scrollIntoView();
  };
  return panel;
}

/** What stands where no tensor is chosen. */
export const choose = () => h('p', { class: 'muted' }, 'Choose a tensor in the picture or in the table to see it here.');

/** What a delta fits, where more than the base leads to it. @param {number} deltas from the base on, itself included */
export const baseWith = (deltas) => `the base${deltas > 1 ? ` with ${plural(deltas - 1, 'other delta')}` : ''}`;

/** @param {App} app @param {Entry} entry */
export function fileDetails(app, entry) {
  const { store, actions } = app;
  const { info } = entry;
  if (!info) return [];
  const base = entryOf(store.state, 'base');
  const alone = store.state.checks.get(entry.id);
  const fit = base && store.state.checks.get(checkKey(entry, base));
  const fits = typeof fit === 'number';
  const sound = alone === 1;
  const why = blocked(store.state);
  return [
    h('h2', null, name(entry.name, 48)),
    facts([
      ['Size', `${exact(info.bytes)} B`],
      ['Parameters', exact(info.elements)],
      ['Base name', info.baseName && name(info.baseName)],
    ]),
    h('h3', null, 'Is it intact?'),
    sound
      ? status('ok', 'Checksum and records are good.')
      : typeof alone === 'object'
        ? problemView(alone, actions.fixes({ choose: () => actions.pickFiles(entry.id), retry: () => actions.verify(entry, false) }))
        : h('p', { class: 'muted' }, `Not checked. Checking reads all ${bytes(info.bytes)}.`),
    base
      ? [
          h('h3', null, 'Does it belong to this base?'),
          fits
            ? status('ok', sentence(baseWith(fit) + ' has the expected hash'))
            : fit
              ? problemView(fit, actions.fixes({ retry: () => actions.verify(entry, true) }))
              : h('p', { class: 'muted' }, typeof alone === 'object' ? 'Not known: the file could not be checked.' : `Not checked. Checking also reads the base, ${bytes(base.size)}.`),
        ]
      : null,
    h(
      'div',
      { class: 'actions' },
      sound
        ? null
        : button('Check the file', () => actions.verify(entry, false), {
            disabled: why,
            'data-key': 'verify file',
          }),
      base && !fits
        ? button('Check file and base', () => actions.verify(entry, true), {
            disabled: why,
            'data-key': 'verify base',
          })
        : null,
    ),
    choose(),
  ].flat();
}

/** @param {App} app @param {Row} row */
export const detailsHead = ({ actions }, row) => [
    h(
      'div',
      { class: 'details-head' },
      h('h2', null, breakable(row.name)),
      button('×', () => actions.select(null), {
        class: 'quiet',
        'aria-label': 'Close details',
        'data-key': 'close details',
      }),
    ),
    h(
      'div',
      { class: 'actions' },
      copyButton('Copy name', () => row.name, { 'aria-keyshortcuts': 'C' }),
    ),
];

/** @param {App} app @param {Entry} entry @param {Row} row */
export function tensorDetails(app, entry, row) {
  const { store, actions } = app;
  const { stats, error } = row;
  const { job } = store.state;
  const running = job?.state === 'running';
  const failed = job?.kind === 'tensor' && job.tensor === row.name && job.problem;
  const lacks = leansOnBase(entry) && !entryOf(store.state, 'base');
  const onLog = (/** @type {boolean} */ logCounts) => store.set({ logCounts });
  const told = isTelling(row) ? storedChart(entry.source, row, store.state.logCounts, onLog) : null;
  return [
    detailsHead(app, row),
    row.findings.length
      ? findingList(
          row.findings.map(({ tensor, ...finding }) => finding),
          () => {},
        )
      : null,
    facts([
      ['Shape', shape(row.shape)],
      ['Parameters', exact(row.elements)],
      [
        'Operation',
        [
          row.strategy,
          ...Object.entries(row.options ?? {}).map((each) => h('span', { class: 'muted' }, ` · ${optionText(...each)}`)),
        ],
      ],
      ['Stored', `${exact(row.bytes)} B`],
      ['Bits per param', number(MEASURES[1].of([row]))],
      ['Error of the delta', error || row.loss ? percent(error?.relativeError ?? row.loss ?? null) : null],
      ['Largest error', error?.largestError && number(error.largestError)],
      ['Stored so because', error?.reason && error.reason !== row.strategy && plain(error.reason)],
    ]),
    h('h3', null, 'Values'),
    stats
      ? [
          facts([
            ['RMS', number(stats.rms)],
            ['Mean', number(stats.mean)],
            ['Range', `${number(stats.min)} … ${number(stats.max)}`],
            ['Norm', number(stats.norm)],
            [
              'Zeros',
              // Of a complex value both parts are counted.
              `${exact(stats.zeros)}${stats.elements > row.elements ? ` of ${exact(stats.elements)} parts` : ''} · ${percent(stats.elements ? stats.zeros / stats.elements : 0)}`,
            ],
            ['Outliers', stats.outliers.count && `${exact(stats.outliers.count)} · ${percent(stats.outliers.share)}`],
            ['Relative to base', stats.relative === undefined ? null : percent(stats.relative) + (stats.relative < 1e4 ? '' : ' of next to nothing')],
          ]),
          // Where nothing changed there is nothing to draw.
          told ?? (stats.norm ? histogram(stats, store.state.logCounts, onLog) : null),
          row.strategy === 'quantized' || !stats.norm ? null : rowChart(stats.rows, row.shape[0]),
        ]
      : [
          failed
            ? problemView(failed, actions.fixes())
            : h(
                'p',
                { class: 'muted' },
                running && /measure|tensor/.test(job.kind)
                  ? 'Measuring…'
                  : lacks
                      ? 'Not measured: a version 2 delta tells how far values move only beside its base.'
                      : 'Not measured.',
              ),
          running
            ? null
            : lacks
              ? button('Open the base…', () => actions.pickFiles(), { 'data-key': 'open base' })
              : button(`Measure, reads ${bytes(row.bytes)}`, () => actions.measure([row.name]), { 'data-key': 'measure one' }),
          told,
        ],
    h('h3', null, 'Bytes'),
    recordView(entry.source, row.records),
  ].flat(2);
}
