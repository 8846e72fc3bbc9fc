// @ts-check
// Whatever the user gives as a model or a delta, as opened files.
/** @import { CallOptions, Source } from './types.js' */
import { failed, usage } from './errors.js';
import { filled } from './options.js';
import { platform } from './platform.js';
import { fromBlob } from './source-blob.js';
import { openObject } from './source-object.js';
import { UrlSource } from './source-url.js';

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
  if (typeof input?.[Symbol.iterator] !== 'function' || ArrayBuffer.isView(input)) return openObject(input, label, call);
  const items = filled([...input], label);
  const opened = await Promise.allSettled(items.map((item, i) => openSources(item, `${label}[${i}]`, call)));
  const refused = opened.find((one) => one.status === 'rejected');
  const sources = /** @type {{ value?: Source[] }[]} */ (opened).flatMap(({ value }) => value ?? []);
  if (!refused) return sources;
  await Promise.all(sources.map((source) => source.close?.()));
  throw refused.reason;
}
