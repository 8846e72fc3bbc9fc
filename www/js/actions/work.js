// @ts-check
// Work that writes a file: plans, Rebuild, Make, and what is kept of their results.

import * as wdelta from '../api.js';
import { isDamage, problemOf } from '../errors.js';
import { addDelta, take } from '../intake/intake.js';
import { chainOf, checkKey, sourcesOf } from '../model/chain.js';
import { makeStages, rebuildStages } from '../model/pace.js';
import { entryOf, leansOnBase } from '../model/rows.js';
import { open } from '../output/destination.js';
import { room, storage } from '../output/private.js';
import { destinationOf } from '../components/parts.js';
import { formOf, isPlan, rebuildKey, rebuildName } from '../views/rebuild.js';
import { makeInputs, makeKey, makeName, makeOptions, parentsOf, wayOf } from '../views/make.js';
import { estimates } from './estimates.js';

/** @import { App } from '../app.js' */
/** @import { DecodeReport, EncodeReport, Entry, Plan, Problem, Saved, Strategy } from '../types.js' */
/** @import { Running } from '../jobs.js' */
/** @import { Stages } from '../model/pace.js' */
/** @import { Opened } from '../output/destination.js' */

/**
 * A job that writes a file, or several where it has `many`.
 * @typedef {{ kind: Saved['kind'], title: string, made: string, name: string, many: boolean, plan: Plan, stages(copied: boolean): Stages, inputs: Record<string, Entry[]>, options: object }} Work
 */

/** @param {App} app */
export function workActions(app) {
  const { store, jobs } = app;
  const sizes = estimates(app);
  return {
    /**
     * What a job would do, from headers alone.
     * @param {string} key what it is for; `null` in the state while it is being made
     * @param {boolean} [again] @param {Strategy} [strategy] of a delta to be made
     */
    async plan(key, again = false, strategy) {
      if (store.state.plans.has(key) && !again) return void (strategy && sizes.add({ key, strategy }));
      const { state } = store;
      const base = entryOf(state, 'base')?.source;
      const inputs = makeInputs(state);
      if (!base || (strategy && !inputs)) return;
      store.dispatch({ type: 'plans', key, value: null });
      try {
        // A place that takes results of any size; a plan writes nothing. Without one the result would have to fit in memory.
        const shared = { output: await storage, force: true };
        const value = await wdelta.plan(
          strategy && inputs
            ? { job: 'encode', ...inputs, ...makeOptions(state, strategy), ...shared }
            : { job: 'decode', base, deltas: sourcesOf(chainOf(state)), ...formOf(state), ...shared },
        );
        store.dispatch({ type: 'plans', key, value });
        if (strategy) sizes.add({ key, strategy });
      } catch (error) {
        store.dispatch({ type: 'plans', key, value: problemOf(error) });
      }
      app.room = await room().catch(() => null);
      store.set({});
    },

    async rebuild() {
      const { state } = store;
      const base = entryOf(state, 'base');
      const chain = chainOf(state);
      const plan = state.plans.get(rebuildKey(state));
      if (!base || !chain.length || !isPlan(plan) || jobs.running) return;
      sizes.stop();
      const options = formOf(state);
      const many = plan.outputs.length > 1;
      const name = many ? rebuildName(state).replace(/\.safetensors$/, '') : rebuildName(state);
      const saved = await produce(
        app,
        { kind: 'rebuild', title: 'Rebuild', made: 'Model rebuilt and checked', name, many, plan, stages: (copied) => rebuildStages(plan, leansOnBase(chain[0]) ? 0 : base.size, copied), inputs: { base: [base], chain }, options },
        (running) => wdelta.decode({ base: base.source, deltas: sourcesOf(chain), ...options, ...running }),
      );
      const { problem } = store.state.job ?? {};
      const found = (/** @type {string} */ key, /** @type {number | Problem} */ value) => store.dispatch({ type: 'checks', key, value });
      const damaged = problem && chain.find((delta) => isDamage(problem, delta));
      if (saved) for (const key of [checkKey(chain[0], base), ...chain.map(({ id }) => id)]) found(key, 1);
      else if (damaged) found(damaged.id, problem);
      else if (problem && /WRONG_BASE|BROKEN_CHAIN/.test(problem.code)) found(checkKey(...chain, base), problem);
    },

    /** Opens what base and deltas give, from memory, as the fine-tune. */
    async finetune() {
      const { state } = store;
      const base = entryOf(state, 'base');
      const deltas = sourcesOf(chainOf(state));
      const made = base && (await jobs.run('make', 'Rebuild', (running) => wdelta.decode({ base: base.source, deltas, ...running })));
      const name = rebuildName(state);
      const parts = made?.data ? [{ path: '', data: made.data }] : made?.files ?? [];
      if (made) await take(store, parts.map(({ path, data }) => ({ file: new File([/** @type {Uint8Array<ArrayBuffer>} */ (data)], path || name), path: path ? `${name}/${path}` : name })), { sample: base.sample });
    },

    async make() {
      const { state } = store;
      const base = entryOf(state, 'base');
      const finetuned = entryOf(state, 'finetuned');
      const sources = makeInputs(state);
      const key = makeKey(state);
      const plan = state.plans.get(key);
      if (!base || !finetuned || !sources || !isPlan(plan) || jobs.running) return;
      sizes.stop();
      const options = makeOptions(state);
      const parents = parentsOf(state);
      const inputs = { base: [base], finetuned: [finetuned], parents };
      const saved = await produce(
        app,
        { kind: 'make', title: 'Make', made: `Delta made: ${wayOf(state)}`, name: makeName(state), many: false, plan, stages: () => makeStages(plan, options.strategy), inputs, options },
        (running) => wdelta.encode({ ...sources, ...options, ...running }),
      );
      const blob = saved?.files[0]?.blob;
      if (!saved || !blob) return;
      const id = addDelta(store, { file: blob, path: saved.files[0].name });
      const made = /** @type {EncodeReport} */ (saved.result);
      // What has been made needs no estimate any more.
      store.dispatch({ type: 'plans', key, value: { ...plan, bytes: made.bytes, exact: true, sample: null } });
      store.dispatch({ type: 'entry', id, values: { made } });
      app.actions.activate(id);
      store.dispatch({ type: 'checks', key: id, value: 1 });
      store.dispatch({ type: 'checks', key: checkKey({ id }, base), value: parents.length + 1 });
    },
  };
}

/**
 * Runs a job that writes a file: opens the way out first, keeps what came of it, leaves nothing on failure.
 * @param {App} app @param {Work} work
 * @param {(running: Running & Pick<Opened, 'output'>) => Promise<DecodeReport | EncodeReport>} run
 * @returns {Promise<Saved | null>}
 */
async function produce(app, work, run) {
  const { store, jobs } = app;
  const { kind, title, made, name, many, plan, stages } = work;
  const way = destinationOf(plan.bytes, many, store.state.to);
  if (!way) return null;
  /** @type {Opened} */
  let opened;
  try {
    opened = await open(way, name, many);
  } catch (error) {
    // A closed picker is no error; anything else is shown as a job that failed.
    if (problemOf(error).code !== 'ABORTED') await jobs.run(kind, title, () => Promise.reject(error));
    return null;
  }
  const { output, where, copy } = opened;
  const started = performance.now();
  const done = await jobs.run(
    kind,
    title,
    async (running) => {
      const result = await run({ output, ...running });
      return { result, files: await opened.blobs(result) };
    },
    // In private storage a result is moved to its place.
    { stages: stages(way === 'picker') },
  );
  let saved = null;
  if (done) {
    const { files } = done;
    const { data, ...result } = done.result;
    const seconds = (performance.now() - started) / 1000;
    const report = await reportOf(work, files, seconds, result);
    saved = { kind, title: made, files, where, copy, report, seconds, result };
    store.set({ saved: [...store.state.saved, saved] });
  } else await opened.discard().catch(() => {});
  await app.actions.listCopies();
  return saved;
}

/** What can be saved beside a result. @param {Work} work @param {Saved['files']} files @param {number} seconds @param {object} result */
const reportOf = async ({ kind, inputs, options }, files, seconds, result) => ({
  tool: 'wdelta page',
  version: await wdelta.version(),
  at: new Date().toISOString(),
  job: kind,
  inputs: Object.fromEntries(Object.entries(inputs).map(([role, entries]) => [role, entries.map(described)])),
  options,
  outputs: files.map(({ name, size }) => ({ name, bytes: size })),
  seconds,
  result,
});

/** @param {Entry} entry */
const described = ({ name, size, info }) => ({ name, bytes: size, ...(info ? { baseHash: info.baseHash } : {}) });
