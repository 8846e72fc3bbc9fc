// @ts-check
// What a machine runs against in the calling thread: asynchronous reads and writes, and turns for everybody else.
/** @import { Host, Output, Source, Transfer } from './types.js' */
/** @import { Progress } from './progress.js' */
import { hasher, memory, view } from './core.js';
import { bytesOf } from './drive.js';
import { checkAbort, failed, orAborted } from './errors.js';

/** Longest time that the calling thread is kept busy, in ms. */
const SLICE = 8;

/** Resolves after other events of this thread had their turn. @returns {Promise<void>} */
const turn = () =>
  new Promise((resolve) => {
    if (typeof setImmediate === 'function') return void setImmediate(resolve);
    // Nested timers are held back by browsers, messages are not.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });

/**
 * A promise of what an action gives, also when it throws at once.
 * @template T
 * @param {() => T | Promise<T>} action
 * @returns {Promise<T>}
 */
export const attempt = async (action) => action();

/**
 * Reads a range of a file.
 * @template {Uint8Array} T
 * @param {Source | Output} file
 * @param {number} offset
 * @param {T} into
 */
export async function readRange(file, offset, into) {
  await attempt(() => file.read(offset, into)).catch(failed(file.name));
  return into;
}

/**
 * Writes bytes that nobody else will touch, and gives them back.
 * @param {Output} output
 * @param {number} offset
 * @param {Uint8Array} bytes
 */
export async function writeRange(output, offset, bytes) {
  return (await attempt(() => output.write(offset, bytes)).catch(failed(output.name, 'written'))) ?? bytes;
}

/**
 * @param {Source[]} sources
 * @param {Output[]} outputs readable as sources, numbered after them
 * @param {Progress} progress
 * @param {AbortSignal} [signal]
 * @returns {Host}
 */
export function localHost(sources, outputs, progress, signal) {
  let since = performance.now();
  return {
    hasher,
    async read(transfers) {
      progress.add(bytesOf(transfers));
      const all = Promise.all(
        transfers.map(({ file, offset, len }) => {
          const source = sources[file] ?? outputs[file - sources.length];
          return source.bytes?.subarray(offset, offset + len) ?? readRange(source, offset, new Uint8Array(len));
        }),
      );
      const got = await orAborted(all, signal);
      // Copied at the end, since the core's memory may have grown meanwhile for another machine.
      transfers.forEach(({ at, len }, i) => view(at, len).set(got[i]));
    },
    async write(transfers) {
      progress.add(bytesOf(transfers));
      const all = transfers.map(({ file, offset, at, len }) => writeRange(outputs[file], offset, view(at, len).slice()));
      await orAborted(Promise.all(all), signal);
    },
    pause() {
      checkAbort(signal);
      progress.held.set('here', memory());
      if (progress.failed) throw progress.failed;
      if (performance.now() - since < SLICE) return;
      return turn().then(() => {
        since = performance.now();
      });
    },
  };
}
