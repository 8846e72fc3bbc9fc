// @ts-check
// One long job at a time: progress into the state, cancel, and what is spoken about it.

import { problemOf } from './errors.js';
import { newId } from './intake/intake.js';
import { shareOf } from './model/pace.js';

/** @import { JobKind, Progress, Problem } from './types.js' */
/** @import { Stages } from './model/pace.js' */
/** @import { Store } from './state.js' */

/** Milliseconds between spoken progress messages, and the share of the work that triggers one earlier. */
const SPEAK_EVERY = 15_000;
const SPEAK_SHARE = 0.1;

/** @typedef {{ signal: AbortSignal, onProgress: (progress: Progress) => void }} Running */

export class Jobs {
  #store;
  #speak;
  /** @type {AbortController | null} */
  #controller = null;

  /** @param {Store} store @param {(text: string, urgent?: boolean) => void} speak */
  constructor(store, speak) {
    this.#store = store;
    this.#speak = speak;
  }

  get running() {
    return this.#controller !== null;
  }

  /**
   * Runs a job. Progress and end are in the state; the result comes back, or `null` when it failed or was cancelled.
   * @template T
   * @param {JobKind} kind
   * @param {string} title
   * @param {(running: Running) => Promise<T>} work
   * @param {{ quiet?: boolean, stages?: Stages, onProblem?: (problem: Problem) => void }} [options] `quiet` leaves only errors in the job bar;
   *   without `stages` all bytes count the same
   * @returns {Promise<T | null>}
   */
  async run(kind, title, work, { quiet = false, stages, onProblem } = {}) {
    if (this.#controller) return null;
    const controller = (this.#controller = new AbortController());
    const store = this.#store;
    const started = performance.now();
    store.set({ job: { id: newId(), kind, title, state: 'running', phase: 'starting', done: 0, share: null, started } });
    const progress = speaker(title, this.#speak);
    if (!quiet) this.#speak(`${title} started`);
    /** @type {Problem | undefined} */
    let problem;
    try {
      const result = await work({
        signal: controller.signal,
        onProgress: ({ phase, tensor, done, total, bytesPerSecond, memory }) => {
          if (this.#controller !== controller || controller.signal.aborted) return;
          const share = total ? shareOf(stages ?? [[total, 1]], done) : null;
          const eta = share && ((performance.now() - started) / 1000) * (1 / share - 1);
          store.dispatch({
            type: 'merge',
            part: 'job',
            values: { phase, tensor, done, share, rate: bytesPerSecond, eta, memory },
          });
          if (!quiet) progress(phase, share ?? 0);
        },
      });
      controller.signal.throwIfAborted();
      store.dispatch({ type: 'merge', part: 'job', values: { state: 'done', ended: performance.now() } });
      if (!quiet) this.#speak(`${title} finished`);
      return result;
    } catch (error) {
      problem = controller.signal.aborted ? problemOf({ name: 'AbortError' }) : problemOf(error);
      const state = problem.code === 'ABORTED' ? 'cancelled' : 'failed';
      store.dispatch({ type: 'merge', part: 'job', values: { state, problem, ended: performance.now() } });
      this.#speak(
        state === 'cancelled' ? `${title} cancelled` : `${title} failed: ${problem.message}`,
        state === 'failed',
      );
      onProblem?.(problem);
      return null;
    } finally {
      this.#controller = null;
    }
  }

  /** Asks the running job to stop; the state says so at once. */
  cancel() {
    if (!this.#controller) return;
    this.#store.dispatch({ type: 'merge', part: 'job', values: { state: 'cancelling' } });
    this.#controller.abort();
  }
}

/** Says where a job is: on a new phase, every tenth, every fifteen seconds. @param {string} title @param {(text: string) => void} speak */
function speaker(title, speak) {
  let [said, before, time] = ['', 0, performance.now()];
  return (/** @type {string} */ phase, /** @type {number} */ share) => {
    const now = performance.now();
    if (phase === said && share < before + SPEAK_SHARE && now < time + SPEAK_EVERY) return;
    speak(`${title}: ${phase}, ${Math.floor(share * 100)} percent`);
    [said, before, time] = [phase, share, now];
  };
}
