// @ts-check
// What a file is, told from its first bytes and never from its name; and whether a model is whole, told from its header.

import { exact } from '../format.js';

/** Bytes that tell the kind; the header of a safetensors file starts behind its 8-byte length. */
const HEAD = 16;

/** @type {[bytes: number[], name: string, advice?: string][]} */
const OTHERS = [
  [[0x47, 0x47, 0x55, 0x46], 'GGUF', 'Deltas are made between .safetensors models.'],
  [[0x50, 0x4b, 0x03, 0x04], 'ZIP', 'If it is a PyTorch checkpoint, convert it to .safetensors.'],
  [[0x80], 'Python pickle', 'Pickles can run code; convert the model to .safetensors.'],
  [[0x1f, 0x8b], 'gzip', 'Unpack it first.'],
  [[0x7b], 'JSON'],
  [[0x3c], 'HTML or XML', 'A download may have saved an error page instead of the file.'],
  [
    [0x76, 0x65, 0x72, 0x73, 0x69, 0x6f, 0x6e, 0x20],
    'Git LFS pointer',
    'The model itself was not downloaded; run `git lfs pull`.',
  ],
];

/** Bytes of the longest header that a reader must take. */
const HEADER = 1e8;

/**
 * @param {Blob} blob
 * @returns {Promise<{ kind: 'delta' | 'model' } | { kind: 'other', message: string, known?: boolean, code?: string }>} whether it is known what it is; with a code if it was meant for a model
 */
export async function recognize(blob) {
  const head = new Uint8Array(await blob.slice(0, HEAD).arrayBuffer());
  if (String.fromCharCode(...head.subarray(0, 7)) === 'wdelta\0') return { kind: 'delta' };
  if (head.length > 8) {
    const length = new DataView(head.buffer).getBigUint64(0, true);
    if (head[8] === 0x7b && length >= 2n && length < 1n << 40n) return model(blob, 8 + Number(length));
  }
  return { kind: 'other', ...describe(head) };
}

/** @param {Blob} blob @param {number} start of its values */
async function model(blob, start) {
  const text = start < HEADER ? await blob.slice(8, start).text() : '';
  // A header can be long, and only this is asked of it.
  const ends = Array.from(text.matchAll(/"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d+)/g), ([, end]) => start + Number(end));
  const size = ends.reduce((a, b) => Math.max(a, b), start);
  /** @returns {{ kind: 'other', code: string, message: string }} */
  const wrong = (/** @type {string} */ code, /** @type {string} */ message) => ({ kind: 'other', code, message });
  if (size > blob.size) return wrong('TRUNCATED', `By its header it should have ${exact(size)} B; it has ${exact(blob.size)} B.`);
  if (text.split('lora_').length > 1 + ends.length / 2) return wrong('NOT_WDELTA', 'A LoRA adapter: merge it into its base, and open the result.');
  return { kind: /** @type {const} */ ('model') };
}

/** @param {Uint8Array} head */
function describe(head) {
  if (!head.length) return { message: 'Not a .wdelta or .safetensors file: it is empty.' };
  const known = OTHERS.find(([bytes]) => bytes.every((byte, i) => head[i] === byte));
  const hex = Array.from(head.subarray(0, 4), (byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join(' ');
  const what = known ? ` (${known[1]})` : '';
  return {
    known: !!known,
    message: `Not a .wdelta or .safetensors file: its first bytes are ${hex}${what}.${known?.[2] ? ` ${known[2]}` : ''}`,
  };
}
