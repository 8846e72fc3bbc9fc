// @ts-check
// Whatever the user gives as a model or a delta, as opened files.
/** @import { CallOptions, Source, SourceObject } from './types.js' */
import { Blocks } from './blocks.js';
import { WdeltaError, changed, failed, usage } from './errors.js';
import { filled } from './options.js';
import { platform } from './platform.js';
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
 * @param {string} label how the caller calls it, such as `base` or `deltas[1]`
 * @param {CallOptions & { output?: any }} call and the output, which no handle may be that is read
 * @returns {Promise<Source[]>} the file, or the files of the folder or list
 */
export async function openSources(input, label, call) {
  if (typeof input === 'string' || input instanceof URL) {
    if (/^https?:/i.test(String(input))) {
      const request = await Promise.resolve(input).then((url) => new Request(url)).catch(failed(String(input)));
      return [await UrlSource.open(request, call)];
    }
    if (!platform.openPath) throw usage(`${label} is a path, and a browser has none: give a File, a handle, a URL or bytes`);
    return filled(await platform.openPath(input), label);
  }
  if (input instanceof Blob) return [fromBlob(input, label)];
  if (input instanceof ArrayBuffer) return [fromBytes(new Uint8Array(input), label)];
  if (ArrayBuffer.isView(input)) return [fromBytes(new Uint8Array(input.buffer, input.byteOffset, input.byteLength), label)];
  if (input?.kind === 'file') {
    if (call.output?.kind && (await input.isSameEntry?.(call.output))) throw usage(`${label} is the output; choose another place`);
    const file = await input.getFile().catch(failed(input.name));
    return [fromBlob(file, label)];
  }
  if (input?.kind === 'directory') return filled(await walk(input, '', MAX_DEPTH, []), label);
  if (typeof input?.[Symbol.iterator] === 'function') {
    const items = filled([...input], label);
    const opened = await Promise.allSettled(items.map((item, i) => openSources(item, `${label}[${i}]`, call)));
    const failed = opened.find((one) => one.status === 'rejected');
    const sources = /** @type {{ value?: Source[] }[]} */ (opened).flatMap(({ value }) => value ?? []);
    if (!failed) return sources;
    await Promise.all(sources.map((source) => source.close?.()));
    throw failed.reason;
  }
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
 * @param {any} blob
 * @param {string} label
 * @param {string} [path]
 * @returns {Source}
 */
function fromBlob(blob, label, path) {
  const name = blob.name ?? label;
  const blocks = new Blocks(blob.size, async (start, end) => {
    const got = await blob.slice(start, end).arrayBuffer();
    if (got.byteLength < end - start) throw changed(name);
    return new Uint8Array(got);
  });
  return {
    // A chosen folder puts its own name in front.
    path: path ?? (blob.webkitRelativePath?.split('/').slice(1).join('/') || name),
    name: path ?? (blob.webkitRelativePath || name),
    size: blob.size,
    // Node cannot post a Blob of a file.
    port: () => (platform.openPath ? undefined : { blob }),
    read: (offset, into) => blocks.read(offset, into.length, (part, from) => into.set(part, from)),
  };
}

/**
 * @param {SourceObject} object
 * @param {string} label
 * @returns {Source}
 */
function fromObject(object, label) {
  const name = object.name ?? object.path ?? label;
  return {
    path: object.path ?? name,
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
