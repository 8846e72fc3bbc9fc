// @ts-check
/**
 * The entry for Node: everything of index.js, and paths and `file:` URLs as sources and outputs.
 *
 * ```js
 * import { encode } from 'wdelta';
 * const { bytes } = await encode({ base: 'base/', finetuned: 'chat/', output: 'chat.wdelta' });
 * ```
 * @module wdelta
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import './errors-node.js';
import { engine } from './core.js';
import { nodeHasher } from './hasher-node.js';
import { platform } from './platform.js';
import { pathSink } from './sink-node.js';
import { openPath } from './source-node.js';
import { nodeSpool } from './spool-node.js';

const fetchCore = engine.compile;
engine.compile = async (module) => {
  // Naming Request loads Node's network code, which takes longer than compiling.
  const url = typeof module === 'string' || module instanceof URL ? String(module) : module.url;
  if (/^https?:/i.test(url)) return fetchCore(module);
  return WebAssembly.compile(await readFile(/^file:/i.test(url) ? fileURLToPath(url) : url));
};
engine.hasher = nodeHasher;

Object.assign(platform, {
  // The calling thread only waits.
  workers: availableParallelism(),
  tiny: 8e6,
  paints: false,
  // Flags of the process are not for the worker: with some, such as --input-type, it would not start.
  createWorker: () => new Worker(new URL('./worker-node.js', import.meta.url), { execArgv: [] }),
  spool: nodeSpool,
  openPath,
  pathSink,

  /**
   * @param {Worker} worker
   * @returns {import('./types.js').Link}
   */
  connect: (worker) => ({
    post: (message, transfer) => worker.postMessage(message, /** @type {any} */ (transfer)),
    listen(receive, fail) {
      worker.on('message', receive);
      worker.on('messageerror', fail);
      worker.on('error', fail);
      worker.on('exit', (code) => fail(new Error(`exit ${code}`)));
    },
    end: () => worker.terminate(),
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
  }),
});

export * from './index.js';
