// @ts-check
// Places for results that the page never gives: paths, streams, the user's own objects. The site leaves this module out: see
// STAND_INS in pkg-scripts/lib/bundle.mjs.
/** @import { Sink } from './types.js' */
import { usage } from './errors.js';
import { platform } from './platform.js';
import { fromStream, spoolSink } from './sink-spool.js';

/**
 * @param {any} output
 * @param {boolean} force
 * @param {string} fallback name of a file that has none, when it goes into a folder
 * @returns {Sink}
 */
export function openOther(output, force, fallback) {
  if (typeof output === 'string' || output instanceof URL) {
    if (!platform.pathSink) throw usage('output is a path, and a browser has none: give a handle, a stream or { write, close }');
    return platform.pathSink(output, force, fallback);
  }
  if (typeof output.getWriter === 'function') {
    if (output.locked) throw usage('output is a locked stream; choose another place');
    return spoolSink({ waits: true, open: async () => fromStream(output.getWriter()) });
  }
  if (typeof output.pipe === 'function') throw usage('output is a Node stream: give its path, or Writable.toWeb(stream)');
  if (typeof output.write === 'function' && typeof output.close === 'function') {
    return spoolSink({ waits: true, open: async () => output });
  }
  throw usage('output must be a path, a handle, a stream or { write, close }');
}
