// @ts-check
// Work that writes a file: plans and estimates, Rebuild, Make, and what is kept of their results.

import { api, version } from '../api.js';
import { isDamage, problemOf } from '../errors.js';
import { addDelta } from '../intake/intake.js';
import { chainOf, checkKey, sourcesOf } from '../model/chain.js';
import { estimate } from '../model/estimate.js';
import { entryOf } from '../model/rows.js';
import { open } from '../output/destination.js';
import { room } from '../output/private.js';
import { destinationOf } from '../components/parts.js';
import { formOf, isPlan, rebuildKey, rebuildName } from '../views/rebuild.js';
import { isEstimate, makeKey, makeName, makeOptions, parentsOf } from '../views/make.js';

/** @import { App } from '../app.js' */
/** @import { EncodeReport, Entry, Plan, Problem, Saved, Strategy } from '../types.js' */
/** @import { Running } from '../jobs.js' */
/** @import { Opened } from '../output/destination.js' */

/** @param {App} app */
export function workActions(app) {
  const { store, jobs } = app;
  /** Estimates, one after the other; a job that starts ends the one under way. */
  let turn = Promise.resolve();
  /** @type {{ key: string, strategy: Strategy, controller: AbortController } | null} */
  let sampling = null;

  /** What Make reads: base, fine-tune and the deltas between. @param {import('../types.js').State} state */
  const inputsOf = (state) => {
    const base = entryOf(state, 'base')?.source;
    const finetuned = entryOf(state, 'finetuned')?.source;
    return base && finetuned && { base, finetuned, parents: sourcesOf(parentsOf(state)) };
  };

  const actions = {
    /**
     * What a job would do, from headers alone.
     * @param {string} key what it is for; `null` in the state while it is being made
     * @param {boolean} [again] @param {Strategy} [strategy] of a delta to be made
     */
    async plan(key, again = false, strategy) {
      if (store.state.plans.has(key) && !again) return void (strategy && actions.estimate(key, strategy));
      const { state } = store;
      const base = entryOf(state, 'base')?.source;
      const inputs = inputsOf(state);
      if (!base || (strategy && !inputs)) return;
      store.dispatch({ type: 'plans', key, value: null });
      try {
        // A place that takes results of any size; a plan writes nothing. Without one the result would have to fit in memory.
        const output = await navigator.storage?.getDirectory?.().catch(() => undefined);
        const shared = { output, force: true };
        const value = await (await api()).plan(
          strategy && inputs
            ? { job: 'encode', ...inputs, ...makeOptions(state, strategy), ...shared }
            : { job: 'decode', base, deltas: sourcesOf(chainOf(state)), ...formOf(state), ...shared },
        );
        store.dispatch({ type: 'plans', key, value });
        if (strategy) actions.estimate(key, strategy);
      } catch (error) {
        store.dispatch({ type: 'plans', key, value: problemOf(error) });
      }
      app.room = await room().catch(() => null);
      store.set({});
    },

    /**
     * Replaces the size in a plan by an estimate, where only doing it tells the size.
     * @param {string} key of the plan @param {Strategy} strategy
     */
    estimate(key, strategy) {
      const current = (/** @type {{ key: string, strategy: Strategy }} */ each) => each.key === makeKey(store.state, each.strategy);
      if (sampling && !current(sampling)) sampling.controller.abort();
      turn = turn.then(async () => {
        const { state } = store;
        const plan = state.plans.get(key);
        const inputs = inputsOf(state);
        if (!inputs || !isEstimate(strategy) || jobs.running || !current({ key, strategy }) || !isPlan(plan) || plan.sample !== undefined) return;
        if (plan.problems.some(({ severity }) => severity === 'error')) return;
        const controller = new AbortController();
        sampling = { key, strategy, controller };
        const found = await estimate(inputs, makeOptions(state, strategy), controller.signal).catch(() => null);
        sampling = null;
        if (!controller.signal.aborted) store.dispatch({ type: 'plans', key, value: { ...plan, sample: null, ...found } });
      });
    },

    async rebuild() {
      const { state } = store;
      const base = entryOf(state, 'base');
      const chain = chainOf(state);
      const plan = state.plans.get(rebuildKey(state));
      if (!base || !chain.length || !isPlan(plan) || jobs.running) return;
      const form = formOf(state);
      const name = rebuildName(state);
      const many = plan.outputs.length > 1;
      const saved = await produce(
        'rebuild',
        'Rebuild',
        many ? name.replace(/\.safetensors$/, '') : name,
        plan,
        many,
        { base, chain },
        form,
        async (output, running) =>
          (await api()).decode({
            base: base.source,
            deltas: sourcesOf(chain),
            output,
            ...form,
            ...running,
          }),
      );
      const { problem } = store.state.job ?? {};
      const found = (/** @type {string} */ key, /** @type {number | Problem} */ value) => store.dispatch({ type: 'checks', key, value });
      const damaged = problem && chain.find((delta) => isDamage(problem, delta));
      if (saved) for (const key of [checkKey(chain[0], base), ...chain.map(({ id }) => id)]) found(key, 1);
      else if (damaged) found(damaged.id, problem);
      else if (problem && /WRONG_BASE|BROKEN_CHAIN/.test(problem.code)) found(checkKey(...chain, base), problem);
    },

    async make() {
      const { state } = store;
      const base = entryOf(state, 'base');
      const finetuned = entryOf(state, 'finetuned');
      const inputs = inputsOf(state);
      const plan = state.plans.get(makeKey(state));
      if (!base || !finetuned || !inputs || !isPlan(plan) || jobs.running) return;
      const options = makeOptions(state);
      const chain = parentsOf(state);
      const saved = await produce(
        'make',
        'Make',
        makeName(state),
        plan,
        false,
        { base, finetuned, parents: chain },
        options,
        async (output, running) =>
          (await api()).encode({
            ...inputs,
            output,
            ...options,
            ...running,
          }),
      );
      const blob = saved?.files[0]?.blob;
      if (!saved || !blob) return;
      const id = addDelta(store, { file: blob, path: saved.files[0].name });
      const made = /** @type {EncodeReport} */ (saved.result);
      store.dispatch({ type: 'entry', id, values: { made } });
      store.dispatch({ type: 'checks', key: id, value: 1 });
      store.dispatch({ type: 'checks', key: checkKey({ id }, base), value: chain.length + 1 });
    },
  };

  /**
   * Runs a job that writes a file: opens the way out first, keeps what came of it, leaves nothing on failure.
   * @template T
   * @param {'rebuild' | 'make'} kind @param {string} title @param {string} name @param {Plan} plan @param {boolean} many
   * @param {Record<string, Entry | Entry[]>} inputs @param {object} options
   * @param {(output: Opened['output'], running: Running) => Promise<T>} work
   * @returns {Promise<Saved | null>}
   */
  async function produce(kind, title, name, plan, many, inputs, options, work) {
    const way = destinationOf(plan.bytes, many, store.state.to);
    if (!way) return null;
    sampling?.controller.abort();
    /** @type {Opened} */
    let opened;
    try {
      opened = await open(way, name, many);
    } catch (error) {
      // A closed picker is no error; anything else is shown as a job that failed.
      if (problemOf(error).code !== 'ABORTED') await jobs.run(kind, title, () => Promise.reject(error));
      return null;
    }
    const started = performance.now();
    const done = await jobs.run(kind, title, async (running) => {
      const result = await work(opened.output, running);
      return { result, files: await opened.blobs(/** @type {any} */ (result)) };
    });
    if (!done) {
      await opened.discard().catch(() => {});
      await app.actions.listCopies();
      return null;
    }
    const seconds = (performance.now() - started) / 1000;
    const { result, files } = done;
    app.rate = seconds > 1 ? (plan.reads + plan.writes) / seconds : app.rate;
    const described = Object.fromEntries(
      Object.entries(inputs).map(([role, entries]) => [
        role,
        [entries].flat().map((entry) => ({
          name: entry.name,
          bytes: entry.size,
          ...(entry.info ? { baseHash: entry.info.baseHash } : {}),
        })),
      ]),
    );
    const { data, ...rest } = /** @type {{ data?: unknown }} */ (result);
    const report = {
      tool: 'wdelta page',
      version: await version(),
      at: new Date().toISOString(),
      job: kind,
      inputs: described,
      options,
      outputs: files.map((file) => ({ name: file.name, bytes: file.size })),
      seconds,
      result: rest,
    };
    const saved = {
      kind,
      title: kind === 'rebuild' ? 'Model rebuilt and checked' : 'Delta made',
      files,
      where: opened.where,
      copy: opened.copy,
      report,
      seconds,
      result: rest,
    };
    store.set({ saved: [...store.state.saved, saved] });
    await app.actions.listCopies();
    return saved;
  }

  return actions;
}
