// @ts-check
// Lineage: which delta follows which, and what is known about each link.

import { button, facts, h, live } from '../dom.js';
import { bytes, name, percent, plural, prose } from '../format.js';
import { lineageKey, lineageNow, pathTo, readyDeltas } from '../model/chain.js';
import { entryOf } from '../model/rows.js';
import { jobArea } from '../components/job.js';
import { blocked, hashView, isRunning, missing, status } from '../components/parts.js';
import { findingList } from '../components/problem.js';

/** @import { App } from '../app.js' */
/** @import { Entry, Lineage, Link } from '../types.js' */

/** How often a delta is moved in below what it was made against; deeper ones stand below each other. */
const DEEPEST = 8;

/** @param {App} app @param {AbortSignal} signal */
export function lineageView(app, signal) {
  const { store, actions, jobs } = app;
  store.watch(
    (state) => [lineageKey(state)],
    () => void (readyDeltas(store.state).length && actions.lineage(true)),
    signal,
  );
  const outcome = jobArea(app, signal, 'lineage', { retry: () => actions.lineage(false) });
  const root = live(
    store,
    signal,
    h('div', { class: 'view narrow' }),
    (state) => [state.entries, state.lineage, state.job, state.active, state.checks],
    ([, , job, active]) => {
      const deltas = readyDeltas(store.state);
      const base = entryOf(store.state, 'base');
      if (!deltas.length)
        return missing(app, 'Follow a chain of deltas', [
          [false, 'One or more .wdelta files; a folder of them works.'],
          [Boolean(base), 'The base, to check the links.'],
        ]);
      const result = lineageNow(store.state);
      const busy = isRunning(job, 'lineage');
      const size = deltas.reduce((sum, entry) => sum + entry.size, base?.size ?? 0);
      const why = blocked(store.state);
      const findings = result?.findings.filter(({ code }) => !base || code !== 'no-base') ?? [];
      return [
        h('h1', null, 'Lineage'),
        h('p', { class: 'muted' }, summaryOf(result, deltas.length)),
        h(
          'div',
          { class: 'actions' },
          base
            ? busy
              ? button('Stop', () => jobs.cancel(), { 'data-key': 'lineage' })
              : result?.links.every(({ state }) => state !== 'not checked')
                ? null
                : button(`Check the links, reads up to ${bytes(size)}`, () => actions.lineage(false), {
                  class: 'primary',
                  disabled: why,
                  'data-key': 'lineage',
                })
            : [
                h('span', { class: 'muted' }, 'Checking the links needs the base. '),
                button('Open the base…', () => actions.pickFiles()),
              ],
        ),
        outcome,
        h(
          'ol',
          { class: 'chain' },
          h(
            'li',
            { class: 'node base' },
            h('i', { class: 'own', vars: { '--up': 0 } }),
            h(
              'div',
              { class: 'node-head' },
              h('strong', null, 'base'),
              base
                ? [name(base.name), h('span', { class: 'num muted' }, bytes(base.size))]
                : h('span', { class: 'muted' }, 'unknown'),
            ),
          ),
          ordered(result, deltas).map((placed, i, all) =>
            node(app, placed, passing(all.map(({ depth }) => depth), i), deltas, result, busy, active),
          ),
        ),
        findings.length ? [h('h2', null, 'Remarks'), findingList(findings, null)] : null,
      ];
    },
  );
  return [root];
}

/** @param {Lineage | null} result @param {number} n */
function summaryOf(result, n) {
  if (!result) return `${plural(n, 'delta')}, in the order they were opened.`;
  const parts = ['verified', 'not checked', 'broken'].flatMap((state) => {
    const { length } = result.links.filter((link) => link.state === state);
    return length ? `${length} ${state}` : [];
  });
  return `${plural(n, 'delta')}; links: ${parts.join(', ')}.`;
}

/** @typedef {{ entry: Entry, link: Link | null, depth: number }} Placed a delta, and how far it is moved in, from 1 */

/** Deltas below their parents. @param {Lineage | null} result @param {Entry[]} deltas @returns {Placed[]} */
function ordered(result, deltas) {
  if (!result) return deltas.map((entry) => ({ entry, link: null, depth: 1 }));
  const order = [...result.order, ...deltas.map((_, i) => i).filter((i) => !result.order.includes(i))];
  const links = new Map(result.links.map((link) => [link.index, link]));
  /** @type {Placed[]} */
  const list = [];
  const placed = new Set();
  const place = (/** @type {number} */ index, /** @type {number} */ depth) => {
    if (placed.has(index) || !deltas[index]) return;
    placed.add(index);
    list.push({ entry: deltas[index], link: links.get(index) ?? null, depth });
    for (const child of order) if (links.get(child)?.parent === index) place(child, depth + 1);
  };
  for (const index of order) if (typeof links.get(index)?.parent !== 'number') place(index, 1);
  for (const index of order) place(index, 1);
  return list;
}

/** The depths, from the base's 0 to a delta's own, that have a line beside it, to a delta that follows. @param {number[]} depths @param {number} at */
const passing = (depths, at) =>
  Array.from({ length: Math.min(depths[at], DEEPEST) + 1 }, (_, depth) => depth).filter(
    (depth) => (depths.slice(at + 1).find((each) => each <= depth + 1 || depth === DEEPEST) ?? 0) > depth,
  );

/**
 * @param {App} app @param {Placed} placed @param {number[]} lines of depths above it that go on @param {Entry[]} deltas
 * @param {Lineage | null} result @param {boolean} busy @param {string | null} active
 */
function node({ actions }, { entry, link, depth }, lines, deltas, result, busy, active) {
  const { info } = entry;
  const state = link?.state ?? 'not checked';
  const mood = state === 'verified' ? 'ok' : state === 'broken' ? 'error' : busy ? 'wait' : 'open';
  const parent =
    link?.parent === 'base' ? 'the base' : typeof link?.parent === 'number' ? name(deltas[link.parent].name, 32) : null;
  const path = result && state === 'verified' ? pathTo(result, deltas.indexOf(entry)) : null;
  return h(
    'li',
    {
      class: `node ${state.replace(' ', '-')}${entry.id === active ? ' active' : ''}${depth > DEEPEST ? '' : ' nested'}`,
      vars: { '--depth': Math.min(depth, DEEPEST) },
    },
    lines.map((each) => h('i', { class: each === depth ? 'own' : '', vars: { '--up': Math.min(depth, DEEPEST) - each } })),
    h(
      'div',
      { class: 'link-state' },
      status(mood, busy && state === 'not checked' ? 'checking' : state),
      parent ? [' made against ', parent] : null,
    ),
    h(
      'div',
      { class: 'node-head' },
      name(entry.name),
      h('span', { class: 'num muted' }, `${info?.strategy} · ${bytes(entry.size)}${info?.loss ? ` · error ${percent(info.loss.relativeError)}` : ''}`),
      button('Inspect', () => actions.activate(entry.id, 'inspect'), {
        class: 'quiet',
        'data-key': `inspect ${entry.id}`,
      }),
      path
        ? button(
            path.length > 1 ? `Rebuild with ${plural(path.length, 'delta')}` : 'Rebuild',
            () => actions.rebuildChain(path.map((i) => deltas[i].id)),
            { class: 'quiet', 'data-key': `rebuild ${entry.id}` },
          )
        : null,
    ),
    facts([
      ['Expects', hashView(link?.expected ?? info?.baseHash ?? '')],
      ['Found', link?.found && link.found !== link.expected && hashView(link.found)],
      ['Why', link?.reason && prose(link.reason)],
      ['What settles it', state === 'broken' && button('Open the delta before it, or its base…', () => actions.pickFiles(), { class: 'link', 'data-key': `settle ${entry.id}` })],
    ]),
  );
}
