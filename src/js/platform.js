// @ts-check
// What differs between browsers and Node. These are the browser's; node.js replaces what it does otherwise.
/** @import { Platform } from './types.js' */

/** @type {Platform} */
export const platform = {
  // One core is left to the page.
  workers: Math.max(1, (globalThis.navigator?.hardwareConcurrency ?? 2) - 1),

  tiny: 1e6,
  paints: true,

  createWorker: () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }),

  connect: (worker) => ({
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    listen(receive, fail) {
      worker.onmessage = (/** @type {MessageEvent} */ event) => receive(event.data);
      worker.onerror = worker.onmessageerror = (/** @type {any} */ event) => {
        event.preventDefault();
        fail(event);
      };
    },
    end: () => worker.terminate(),
    hold() {},
  }),
};
