// @ts-check
// Parts of blobs, read into buffers that are used again.
import { give, lose, take } from './buffers.js';

/** Time after which a read from a stream is made in another way, in ms: Chromium's streams of blobs stop now and then, for good and in silence. */
const STALLED = 1000;

/**
 * @param {Blob} blob
 * @param {number} offset
 * @param {number} len
 * @param {(bytes: Uint8Array) => void} put copies what was read; the buffer is used again
 */
export async function readBlob(blob, offset, len, put) {
  const part = blob.slice(offset, offset + len);
  const whole = async () => put(new Uint8Array(await part.arrayBuffer()));
  let reader;
  try {
    reader = /** @type {any} */ (part.stream()).getReader({ mode: 'byob' });
  } catch {
    // Not every browser reads into a buffer that it is given.
    return whole();
  }
  let bytes = take(len);
  const { byteLength } = bytes.buffer;
  try {
    for (let got = 0; got < len; ) {
      /** @type {any} */
      let timer;
      const stalled = new Promise((resolve) => (timer = setTimeout(resolve, STALLED)));
      // The buffer goes to the reader and comes back.
      const answer = await Promise.race([reader.read(new Uint8Array(bytes.buffer, got, len - got)), stalled]);
      clearTimeout(timer);
      if (!answer) {
        lose(byteLength);
        reader.cancel().catch(() => {});
        return whole();
      }
      const { value, done } = answer;
      if (done) throw { name: 'NotReadableError' };
      got += value.length;
      bytes = new Uint8Array(value.buffer, 0, len);
    }
    await reader.cancel();
  } catch (error) {
    lose(byteLength);
    throw error;
  }
  put(bytes);
  give(bytes);
}
