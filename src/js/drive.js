// @ts-check
// The step loop: gives a machine what it needs, takes what it has ready, and hands the rest to its owner.
/** @import { Host, Machine, OwnStep, Step, Transfer } from './types.js' */
import { view } from './core.js';

/**
 * Runs a machine and frees it at the end. Yields the steps that only its owner can answer; the owner answers through
 * the machine before asking for the next one. The last one is `done`.
 * @param {Machine} machine
 * @param {Host} host
 * @returns {AsyncGenerator<Exclude<Step, { kind: 'need' | 'ready' | 'hash' | 'digest' }>, void, void>}
 */
export async function* steps(machine, host) {
  /** @type {Map<number, ReturnType<Host['hasher']>>} */
  const lanes = new Map();
  const lane = (/** @type {number} */ n) => {
    let hasher = lanes.get(n);
    if (!hasher) lanes.set(n, (hasher = host.hasher()));
    return hasher;
  };
  try {
    for (;;) {
      // Where a host answers at once, nothing is awaited: a worker's loop over local files is synchronous.
      const turn = host.pause?.();
      if (turn) await turn;
      const step = machine.step();
      let wait;
      switch (step.kind) {
        case 'need':
          wait = host.read(step.transfers);
          break;
        case 'ready':
          wait = host.write(step.transfers);
          break;
        case 'hash':
          for (const n of step.lanes) lane(n).update(step.at, step.len);
          break;
        case 'digest':
          machine.putDigest(lane(step.lane).digest());
          lanes.delete(step.lane);
          break;
        default:
          yield step;
          if (step.kind === 'done') return;
      }
      if (wait) await wait;
    }
  } finally {
    machine.free();
  }
}

/**
 * Runs a task.
 * @param {Machine} machine
 * @param {Host} host
 * @returns {Promise<Uint8Array>} its report
 */
export async function reportOf(machine, host) {
  let report = new Uint8Array();
  for await (const step of steps(machine, host)) if (step.kind === 'done') report = step.report;
  return report;
}

/**
 * A step whose content is the receiver's own.
 * @param {Exclude<Step, { kind: 'need' | 'ready' | 'hash' | 'digest' }>} step
 * @returns {OwnStep}
 */
export function unpack(step) {
  if (step.kind === 'done') return { kind: 'done', value: JSON.parse(new TextDecoder().decode(step.report)) };
  if (!('json' in step)) return step;
  const { at = 0, len = 0 } = /** @type {{ at?: number, len?: number }} */ (step);
  return { kind: step.kind, value: JSON.parse(step.json), data: len ? view(at, len).slice() : undefined };
}

/** @param {Transfer[]} transfers */
export const bytesOf = (transfers) => transfers.reduce((sum, { len }) => sum + len, 0);
