// @ts-check
// Where results go: memory, file and folder handles, and whatever else the user gives.
/** @import { Bytes, Output, OutputTarget, Sink } from './types.js' */
import { WdeltaError } from './errors.js';
import { fileTarget, folderTarget } from './sink-handle.js';
import { openOther } from './sink-object.js';
import { spoolSink } from './sink-spool.js';
import { MAX_MEMORY, memorySpool, tooLarge } from './spool.js';

/**
 * @param {OutputTarget | undefined} output
 * @param {boolean} force
 * @param {string} fallback name of a file that has none, when it goes into a folder
 * @returns {Sink}
 */
export function openSink(output, force, fallback) {
  const target = /** @type {any} */ (output);
  if (output === undefined) return memorySink();
  if (target.kind === 'file') return spoolSink(fileTarget(target));
  if (target.kind === 'directory') return spoolSink(folderTarget(target, force, fallback));
  return openOther(target, force, fallback);
}

/**
 * Refuses paths that could leave the output folder. They come from index files, which anybody can write.
 * @param {string} path relative, with `/`; empty for the one file that the caller named
 */
export function checkPath(path) {
  const plain = path.split('/').every((part) => !/^\.{0,2}$|[\0-\x1f\\:]/.test(part));
  if (path && !plain) {
    throw new WdeltaError('MALFORMED', `the model names a file ${JSON.stringify(path)}, which is not a plain name inside its folder; correct its index file`);
  }
}

/** @returns {Sink} */
function memorySink() {
  /** @type {(Output & { bytes: Bytes, path: string })[]} */
  let outputs = [];
  return {
    copies: false,
    async check(files) {
      const bytes = files.reduce((sum, { size }) => sum + size, 0);
      if (bytes > MAX_MEMORY) throw tooLarge(bytes);
    },
    async create(files) {
      // Of what is only bounded, what may be kept: memory costs nothing before it is written to.
      outputs = files.map(({ path, size }) => ({ ...memorySpool(Math.min(size, MAX_MEMORY)), path, size, name: path || 'the result' }));
      return outputs;
    },
    async commit() {
      // Cut down where a result turned out shorter than its bound.
      const data = (/** @type {{ size: number, bytes: Bytes }} */ { size, bytes }) => (size < bytes.length ? bytes.slice(0, size) : bytes);
      if (outputs.length === 1) return { data: data(outputs[0]) };
      return { files: outputs.map((one) => ({ path: one.path, size: one.size, data: data(one) })) };
    },
    async abort() {
      outputs = [];
    },
  };
}
