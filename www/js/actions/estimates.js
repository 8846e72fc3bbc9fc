// @ts-check
// Estimates of sizes that only the work itself would tell: one after the other, and none beside a job.

import { estimate } from '../model/estimate.js';
import { isPlan } from '../views/rebuild.js';
import { isEstimate, makeInputs, makeKey, makeOptions } from '../views/make.js';

/** @import { App } from '../app.js' */
/** @import { Strategy } from '../types.js' */

/** @typedef {{ key: string, strategy: Strategy }} Wanted key of a plan, and the strategy it is for */

/** @param {App} app */
export function estimates({ store, jobs }) {
  let turn = Promise.resolve();
  /** @type {Wanted & { controller: AbortController } | null} */
  let current = null;
  const isWanted = (/** @type {Wanted} */ { key, strategy }) => key === makeKey(store.state, strategy);

  /** @param {Wanted} wanted */
  async function run(wanted) {
    const { state } = store;
    const { key, strategy } = wanted;
    const inputs = makeInputs(state);
    const plan = state.plans.get(key);
    if (!inputs || !isEstimate(strategy) || jobs.running || !isWanted(wanted) || !isPlan(plan) || plan.sample !== undefined) return;
    if (plan.problems.some(({ severity }) => severity === 'error')) return;
    const controller = new AbortController();
    current = { ...wanted, controller };
    const found = await estimate(inputs, makeOptions(state, strategy), controller.signal).catch(() => null);
    current = null;
    if (!controller.signal.aborted) store.dispatch({ type: 'plans', key, value: { ...plan, sample: null, ...found } });
  }

  return {
    /** Replaces the size in a plan in its turn; ends what nobody waits for any more. @param {Wanted} wanted */
    add(wanted) {
      if (current && !isWanted(current)) current.controller.abort();
      turn = turn.then(() => run(wanted));
    },
    /** Ends the one under way: a job starts. */
    stop: () => current?.controller.abort(),
  };
}
