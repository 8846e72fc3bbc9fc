// @ts-check
// Looking into files: what is chosen, and the jobs that measure, check, compare and order.

import { api } from '../api.js';
import { chainOf, checkKey, knownPath, lineageKey, lineageNow, pathTo, readyDeltas, sourcesOf } from '../model/chain.js';
import { isDamage } from '../errors.js';
import { MEASURE_AT_ONCE, activeEntry, entryOf, leansOnBase, rowNamed, rowsOf } from '../model/rows.js';

/** @import { App } from '../app.js' */
/** @import { Entry, Problem } from '../types.js' */

/** Milliseconds between two pictures while tensors are measured. */
const REDRAW_EVERY = 150;

/** @param {App} app */
export function lookActions(app) {
  const { store, jobs } = app;
  /** A delta, with those before it: as their headers say, else as chosen in Rebuild. @param {Entry} entry */
  const upTo = async (entry) => {
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
        void actions.measure([row.name], false);
    },

    /**
     * Statistics of the decoded values, of all tensors or of some.
     * @param {string[] | null} names @param {boolean} withBase
     */
    async measure(names, withBase) {
      const entry = activeEntry(store.state);
      if (!entry) return;
      const rows = new Map(rowsOf(entry).map((row) => [row.name, row]));
      const base = withBase || leansOnBase(entry) ? entryOf(store.state, 'base')?.source : undefined;
      let next = 0;
      await jobs.run(
        names ? 'tensor' : 'measure',
        names ? 'Measure tensor' : 'Measure',
        async ({ signal, onProgress }) => {
          const total = [...rows.values()].reduce(
            (sum, { name, bytes }) => (!names || names.includes(name) ? sum + bytes : sum),
            0,
          );
          const started = performance.now();
          let done = 0;
          onProgress({ phase: 'measuring', tensor: names?.[0], done, total });
          const deltas = base ? await upTo(entry) : [entry];
          const job = { deltas: sourcesOf(deltas), ...(base ? { base } : {}), ...(names ? { names } : {}), signal };
          for await (const stats of (await api()).stats(job)) {
            const row = rows.get(stats.name);
            if (!row) continue;
            row.stats = stats;
            done += row.bytes;
            const bytesPerSecond = (done * 1000) / (performance.now() - started);
            onProgress({
              phase: 'measuring',
              tensor: row.name,
              done,
              total,
              bytesPerSecond,
              etaSeconds: (total - done) / bytesPerSecond,
            });
            // Redrawing table and picture for each of thousands of tensors would take longer than measuring them.
            if (performance.now() < next) continue;
            redraw();
            next = performance.now() + Math.max(REDRAW_EVERY, rows.size / 4);
          }
        },
        { quiet: names !== null },
      );
      redraw();
    },

    /** @param {Entry} entry @param {boolean} withBase */
    async verify(entry, withBase) {
      const base = withBase ? entryOf(store.state, 'base') : undefined;
      let deltas = [entry];
      const found = (/** @type {string} */ key, /** @type {number | Problem} */ value) => store.dispatch({ type: 'checks', key, value });
      const result = await jobs.run(
        'verify',
        'Check',
        async (running) => {
          if (base) deltas = await upTo(entry);
          await (await api()).verify({
            deltas: sourcesOf(deltas),
            ...(base ? { base: base.source } : {}),
            ...running,
          });
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
      const result = await jobs.run('diff', 'Compare', async (running) =>
        (await api()).diff({ a: a.source, b: b.source, ...(base ? { base } : {}), ...running }),
      );
      if (result)
        store.dispatch({ type: 'merge', part: 'compare', values: { diff: { key: `${a.id}:${b.id}`, result } } });
    },

    /** @param {boolean} headersOnly without the base only headers are read, once for the same files; that is not a job */
    async lineage(headersOnly) {
      const key = lineageKey(store.state);
      if (headersOnly && lineageNow(store.state)) return;
      const base = headersOnly ? undefined : entryOf(store.state, 'base');
      const deltas = readyDeltas(store.state);
      const job = { deltas: sourcesOf(deltas), ...(base ? { base: base.source } : {}) };
      const result = headersOnly
        ? await (await api()).lineage(job).catch(() => null)
        : await jobs.run('lineage', 'Check links', async (running) => (await api()).lineage({ ...job, ...running }));
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
