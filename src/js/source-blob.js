// @ts-check
// A Blob or a File as a source, read in blocks.
/** @import { Source } from './types.js' */
import { Blocks } from './blocks.js';
import { changed } from './errors.js';
import { platform } from './platform.js';

/**
 * @param {any} blob
 * @param {string} label
 * @param {string} [path]
 * @returns {Source}
 */
export function fromBlob(blob, label, path) {
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
