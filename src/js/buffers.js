// @ts-check
// Buffers of this thread that are used again and again. What is left to a collector instead gathers: engines hardly
// count it as theirs, and a gigabyte of reads leaves hundreds of megabytes behind.
import { BLOCK } from './blocks.js';

/** Length of a buffer: the most that the core reads or writes at once. */
const SIZE = 4 << 20;
/** Buffers that are kept. */
const MAX_SPARE = 4;

/** @type {ArrayBuffer[]} */
const spare = [];
let bytes = 0;

/** Bytes of all that are kept or on their way. */
export const held = () => bytes;

/**
 * @param {number} len
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function take(len) {
  // A small one costs less when it is its own.
  if (len <= BLOCK) return new Uint8Array(len);
  const at = spare.findIndex(({ byteLength }) => byteLength >= len);
  if (at >= 0) return new Uint8Array(spare.splice(at, 1)[0], 0, len);
  const buffer = new ArrayBuffer(Math.max(len, SIZE));
  bytes += buffer.byteLength;
  return new Uint8Array(buffer, 0, len);
}

/**
 * Counts a buffer out that does not come back.
 * @param {number} length of a buffer of what `take` gave
 */
export function lose(length) {
  if (length >= SIZE) bytes -= length;
}

/** @param {Uint8Array} given that `take` gave, and nobody else has */
export function give({ buffer }) {
  if (buffer.byteLength < SIZE) return;
  if (spare.length < MAX_SPARE) spare.push(/** @type {ArrayBuffer} */ (buffer));
  else bytes -= buffer.byteLength;
}
