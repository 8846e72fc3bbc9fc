// @ts-check
// Bytes done into progress events: at most ten a second, never going back, with a moving rate.
/** @import { ProgressEvent } from './types.js' */
import { WdeltaError } from './errors.js';

/** Shortest time between events, in ms. */
const INTERVAL = 100;
/** Time over which the rate is taken, in ms. */
const WINDOW = 10_000;
/** Time after which there is a rate, in ms. */
const FIRST = 1000;

/** Counts a job's bytes and tells the listener. */
export class Progress {
  #listener;
  #now;
  /** @type {Pick<ProgressEvent, 'phase' | 'tensor' | 'done' | 'total'>} */
  #state = { phase: 'opening', tensor: undefined, done: 0, total: 0 };
  /** Time and bytes, oldest first, no two closer than an interval. @type {[number, number][]} */
  #samples = [];
  #last = -Infinity;
  /** @type {any} */
  #timer;
  /** Bytes of memory by who holds them: a thread with its core and buffers, an output. @type {Map<unknown, number>} */
  held = new Map();
  /** The listener's failure, which ends the job. @type {WdeltaError | undefined} */
  failed;

  /**
   * @param {((event: ProgressEvent) => void) | undefined} listener
   * @param {() => number} [now] in ms
   */
  constructor(listener, now = () => performance.now()) {
    this.#listener = listener;
    this.#now = now;
    this.#tell();
  }

  /**
   * Before this nothing is counted, since the work is not known.
   * @param {number} total bytes that will be read and written
   */
  plan(total) {
    this.#state.total = total;
    this.#samples = [[this.#now(), 0]];
  }

  /**
   * @param {string} phase
   * @param {string} [tensor]
   */
  phase(phase, tensor) {
    Object.assign(this.#state, { phase, tensor });
    this.#tell();
  }

  /** @param {number} bytes */
  add(bytes) {
    const state = this.#state;
    state.done = Math.min(state.done + bytes, state.total);
    this.#tell();
  }

  /** The last event: everything is done. */
  finish() {
    Object.assign(this.#state, { phase: 'done', tensor: undefined, done: this.#state.total });
    this.#tellNow();
  }

  /** No event comes after this. */
  end() {
    clearTimeout(this.#timer);
    this.#listener = undefined;
  }

  #tell() {
    if (!this.#listener) return;
    const now = this.#now();
    const wait = this.#last + INTERVAL - now;
    if (wait > 0) {
      // What is held back now is told later, even if nothing more happens.
      this.#timer ??= setTimeout(() => this.#tellNow(), wait);
      this.#timer.unref?.();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#last = now;
    try {
      const memory = [...this.held.values()].reduce((sum, bytes) => sum + bytes, 0);
      this.#listener({ ...this.#state, ...this.#rate(now), memory });
    } catch (cause) {
      this.failed ??= new WdeltaError('USAGE', `onProgress failed: ${cause}`, { cause });
    }
  }

  #tellNow() {
    this.#last = -Infinity;
    this.#tell();
  }

  /** @param {number} now */
  #rate(now) {
    const { done, total } = this.#state;
    const samples = this.#samples;
    if (samples.length) samples.push([now, done]);
    while (samples.length > 2 && samples[1][0] <= now - WINDOW) samples.shift();
    const span = samples.length && now - samples[0][0];
    if (span < FIRST) return { bytesPerSecond: null, etaSeconds: null };
    const rate = ((done - samples[0][1]) / span) * 1000;
    return { bytesPerSecond: rate, etaSeconds: rate ? (total - done) / rate : null };
  }
}
