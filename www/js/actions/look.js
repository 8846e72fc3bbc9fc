// @ts-check
// Looking into files: what is chosen, and the jobs that measure, check, compare and order.

import * as wdelta from '../api.js';
import { chainOf, checkKey, knownPath, lineageKey, lineageNow, pathTo, readyDeltas, sourcesOf } from '../model/chain.js';
import { isDamage } from '../errors.js';
import { MEASURE_AT_ONCE, activeEntry, entryOf, leansOnBase, readDiff, rowNamed, rowsOf } from '../model/rows.js';

/** @import { App } from '../app.js' */
/** @import { Running } from '../jobs.js' */
/** @import { Entry, Problem, Row, StatsOptions } from '../types.js' */

/** Milliseconds between two pictures while tensors are measured. */
const REDRAW_EVERY = 150;

/** What the package reads. @param {Entry[]} deltas @param {Entry} [base] */
const read = (deltas, base) => ({ deltas: sourcesOf(deltas), ...(base ? { base: base.source } : {}) });

/** @param {App} app */
export function lookActions(app) {
  const { store, jobs } = app;
  /** A delta, beside the base with those before it: as their headers say, else as chosen in Rebuild. @param {Entry} entry @param {Entry} [base] */
  const upTo = async (entry, base) => {
    if (!base) return [entry];
    await actions.lineage(true);
    const chain = chainOf(store.state);
    return knownPath(store.state, entry) ?? (chain.includes(entry) ? chain.slice(0, chain.indexOf(entry) + 1) : [entry]);
  };
  const redraw = () => store.set({ revision: store.state.revision + 1 });
  // What was measured against another base does not hold for this one.
  store.watch(
    (state) => [entryOf(state, 'base')?.id],
    () => {
      for (const row of store.state.entries.flatMap(rowsOf)) if (row.stats?.baseNorm !== undefined) delete row.stats;
      redraw();
    },
  );
  const actions = {
    /**
     * Chooses a tensor for all views. A small one is measured at once, when it was chosen on purpose and nothing runs.
     * @param {string | null} name @param {boolean} [passing] the cursor merely came by
     */
    select(name, passing = false) {
      if (!passing) app.chosen(name);
      store.set({ tensor: name });
      const row = rowNamed(rowsOf(activeEntry(store.state)), name);
      if (
        row &&
        !row.stats &&
        !passing &&
        store.state.view === 'inspect' &&
        row.bytes <= MEASURE_AT_ONCE &&
        (!leansOnBase(activeEntry(store.state)) || entryOf(store.state, 'base')?.source) &&
        !jobs.running
      )
        void actions.measure([row.name]);
    },

    /**
     * Statistics of the decoded values, of all tensors or of some, beside the base if it is open.
     * @param {string[] | null} names
     */
    async measure(names) {
      const entry = activeEntry(store.state);
      if (!entry) return;
      const base = entryOf(store.state, 'base');
      const rows = rowsOf(entry).filter(({ name }) => !names || names.includes(name));
      const measured = async (/** @type {Running} */ running, /** @type {Entry | undefined} */ from) =>
        measureRows(rows, { ...read(await upTo(entry, from), from), ...(names ? { names } : {}) }, running, redraw);
      await jobs.run(
        names ? 'tensor' : 'measure',
        names ? 'Measure tensor' : 'Measure',
        (running) =>
          measured(running, base).catch((problem) => {
            // Another base is no use, and version 1 needs none.
            if (leansOnBase(entry) || problem.code === 'ABORTED') throw problem;
            return measured(running, undefined);
          }),
        { quiet: names !== null },
      );
      redraw();
    },

    /** @param {string} id of what picture and table show */
    showMeasure: (id) => store.set({ measure: [id, ...store.state.measure], brush: [0, 1], log: null }),

    /** @param {Entry} entry @param {boolean} withBase */
    async verify(entry, withBase) {
      const base = withBase ? entryOf(store.state, 'base') : undefined;
      let deltas = [entry];
      const found = (/** @type {string} */ key, /** @type {number | Problem} */ value) => store.dispatch({ type: 'checks', key, value });
      const result = await jobs.run(
        'verify',
        'Check',
        async (running) => {
          deltas = await upTo(entry, base);
          await wdelta.verify({ ...read(deltas, base), ...running });
          return deltas.length;
        },
        {
          onProblem(problem) {
            if (problem.code === 'ABORTED') return;
            // Damage is the file's own, whatever it was checked with.
            const damaged = deltas.find((delta) => isDamage(problem, delta));
            found(damaged?.id ?? (base ? checkKey(entry, base) : entry.id), problem);
          },
        },
      );
      if (!result) return;
      for (const { id } of deltas) found(id, 1);
      if (base) found(checkKey(entry, base), result);
    },

    /** @param {[Entry, Entry]} pair */
    async diff([a, b]) {
      const base = a.role === 'delta' ? entryOf(store.state, 'base')?.source : undefined;
      const result = await jobs.run('diff', 'Compare', (running) =>
        wdelta.diff({ a: a.source, b: b.source, ...(base ? { base } : {}), ...running }),
      );
      if (!result) return;
      await readDiff(result);
      store.dispatch({ type: 'merge', part: 'compare', values: { side: 'difference', diff: { key: `${a.id}:${b.id}`, result } } });
      actions.showMeasure('apart');
    },

    /** @param {boolean} headersOnly without the base only headers are read, once for the same files; that is not a job */
    async lineage(headersOnly) {
      const key = lineageKey(store.state);
      if (headersOnly && lineageNow(store.state)) return;
      const base = headersOnly ? undefined : entryOf(store.state, 'base');
      const deltas = readyDeltas(store.state);
      const job = read(deltas, base);
      const result = headersOnly
        ? // In a worker, where headers are of thousands of tensors.
          await wdelta.lineage({ ...job, workers: 1 }).catch(() => null)
        : await jobs.run('lineage', 'Check links', (running) => wdelta.lineage({ ...job, ...running }));
      if (!result || key !== lineageKey(store.state) || (headersOnly && lineageNow(store.state))) return;
      store.set({ lineage: { key, result } });
      for (const { index } of base ? result.links : []) {
        const path = pathTo(result, index);
        if (path?.every((at) => result.links.some((link) => link.index === at && link.state === 'verified')))
          store.dispatch({ type: 'checks', key: `${deltas[index].id}:${base?.id}`, value: path.length });
      }
    },
  };
  return actions;
}

/**
 * Puts statistics into rows as they come.
 * @param {Row[]} rows @param {Pick<StatsOptions, 'deltas' | 'base' | 'names'>} sources
 * @param {Running} running @param {() => void} redraw
 */
async function measureRows(rows, sources, { signal, onProgress }, redraw) {
  const named = new Map(rows.map((row) => [row.name, row]));
  const total = rows.reduce((sum, { bytes }) => sum + bytes, 0);
  const started = performance.now();
  let done = 0;
  let next = 0;
  onProgress({ phase: 'measuring', tensor: sources.names?.[0], done, total });
  for await (const stats of wdelta.stats({ ...sources, signal })) {
    const row = named.get(stats.name);
    if (!row) continue;
    row.stats = stats;
    done += row.bytes;
    const bytesPerSecond = (done * 1000) / (performance.now() - started);
    onProgress({ phase: 'measuring', tensor: row.name, done, total, bytesPerSecond });
    // Redrawing table and picture for each of thousands of tensors would take longer than measuring them.
    if (performance.now() < next) continue;
    redraw();
    next = performance.now() + Math.max(REDRAW_EVERY, rows.length / 4);
  }
}
