// A second, independent reading of safetensors files: what the demo and the tests check the package against. Whole file in memory.
import { readFileSync } from 'node:fs';

/**
 * @typedef {{ dtype: string, shape: number[], bytes: Uint8Array }} Tensor
 */

/**
 * Tensors by name, in the order of the header.
 *
 * @param {string | Uint8Array} source path or content
 * @returns {Map<string, Tensor>}
 */
export function readModel(source) {
  const file = typeof source === 'string' ? readFileSync(source) : Buffer.from(source);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + length));
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [start, end] = entry.data_offsets;
    tensors.set(name, { dtype: entry.dtype, shape: entry.shape, bytes: file.subarray(8 + length + start, 8 + length + end) });
  }
  return tensors;
}

/**
 * A file with these tensors, in this order.
 *
 * @param {Map<string, Tensor>} tensors
 */
export function writeModel(tensors) {
  let at = 0;
  const entry = ({ dtype, shape, bytes }) => ({ dtype, shape, data_offsets: [at, (at += bytes.length)] });
  // Not by assignment: `__proto__` is a name like any other.
  const json = JSON.stringify(Object.fromEntries([...tensors].map(([name, tensor]) => [name, entry(tensor)])));
  const text = Buffer.from(json.padEnd(Math.ceil(Buffer.byteLength(json) / 8) * 8 - Buffer.byteLength(json) + json.length));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...[...tensors.values()].map((t) => t.bytes)]);
}

/**
 * The values of a BF16 or F32 tensor.
 *
 * @param {Tensor} tensor
 * @returns {Float32Array}
 */
export function toFloat32({ dtype, bytes }) {
  const copy = bytes.slice();
  if (dtype === 'F32') return new Float32Array(copy.buffer, copy.byteOffset, copy.byteLength / 4);
  if (dtype !== 'BF16') throw new Error(`no conversion of ${dtype}`);
  const bits = Uint32Array.from(new Uint16Array(copy.buffer, copy.byteOffset, copy.byteLength / 2), (half) => half << 16);
  return new Float32Array(bits.buffer);
}

/**
 * Finite float32 values as BF16, to nearest, ties to even.
 *
 * @param {Float32Array} values
 */
export function toBf16(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
  return new Uint8Array(halves.buffer);
}
