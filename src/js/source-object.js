// @ts-check
// What is given as a source and is no file, path or list of these: handles, bytes, requests, the user's own objects.
/** @import { CallOptions, Source, SourceObject } from './types.js' */
import { WdeltaError, failed, usage } from './errors.js';
import { filled } from './options.js';
import { fromBlob } from './source-blob.js';
import { UrlSource } from './source-url.js';

/** Most files of one folder. A folder with more is not a model. */
export const MAX_FILES = 10_000;
/** How many folders deep a model's folder is looked into. */
export const MAX_DEPTH = 3;

/** @param {string} name */
export const tooManyFiles = (name) =>
  new WdeltaError('LIMIT', `${name} holds more than ${MAX_FILES} files; give the folder of one model`);

/**
 * @param {any} input
 * @param {string} label how the caller calls it
 * @param {CallOptions & { output?: any }} call and the output, which no handle may be that is read
 * @returns {Promise<Source[]>} the file, or the files of the folder
 */
export async function openObject(input, label, call) {
  if (input instanceof ArrayBuffer) return [fromBytes(new Uint8Array(input), label)];
  if (ArrayBuffer.isView(input)) return [fromBytes(new Uint8Array(input.buffer, input.byteOffset, input.byteLength), label)];
  if (input?.kind === 'file') {
    if (call.output?.kind && (await input.isSameEntry?.(call.output))) throw usage(`${label} is the output; choose another place`);
    const file = await input.getFile().catch(failed(input.name));
    return [fromBlob(file, label)];
  }
  if (input?.kind === 'directory') return filled(await walk(input, '', MAX_DEPTH, []), label);
  // Last, since in Node it loads what is for the network.
  if (input instanceof Request) return [await UrlSource.open(input, call)];
  if (typeof input?.read === 'function' && Number.isSafeInteger(input.size) && input.size >= 0) return [fromObject(input, label)];
  throw usage(`${label} is ${{}.toString.call(input)}; give a path, a URL, a File or Blob, a handle, bytes, a list of files, or { size, read }`);
}

/**
 * @param {Uint8Array} bytes
 * @param {string} name
 * @returns {Source}
 */
const fromBytes = (bytes, name) => ({
  path: name,
  name,
  size: bytes.length,
  bytes,
  read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
});

/**
 * @param {SourceObject} object
 * @param {string} label
 * @returns {Source}
 */
function fromObject(object, label) {
  const name = String(object.name ?? object.path ?? label);
  return {
    path: String(object.path ?? name),
    name,
    size: object.size,
    async read(offset, into) {
      const got = await object.read(offset, into.length, into);
      if (got === into) return;
      if (!(got instanceof Uint8Array) || got.length !== into.length) {
        throw new WdeltaError('IO', `read(${offset}, ${into.length}) of ${name} gave ${got?.length ?? got} instead of ${into.length} bytes`, { source: name });
      }
      into.set(got);
    },
  };
}

/**
 * @param {any} folder
 * @param {string} prefix
 * @param {number} depth
 * @param {Source[]} found
 */
async function walk(folder, prefix, depth, found) {
  for await (const [name, handle] of folder.entries()) {
    if (name.startsWith('.')) continue;
    if (handle.kind === 'directory') {
      if (depth > 1) await walk(handle, `${prefix}${name}/`, depth - 1, found);
    } else found.push(fromBlob(await handle.getFile(), name, prefix + name));
    if (found.length > MAX_FILES) throw tooManyFiles(folder.name);
  }
  return found;
}
