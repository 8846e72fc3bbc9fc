// Models and deltas made for tests, written as sparse files: their empty parts take no room on disk.

import { open } from 'node:fs/promises';

/** Values around ±0.01 as bf16 that differ from place to place. */
function noise(length, seed) {
  const bytes = Buffer.alloc(length);
  for (let i = 0, x = seed; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    bytes[i] = i % 2 ? 0x3c | ((x >>> 16) & 0x80) : x >>> 16;
  }
  return bytes;
}

/**
 * A bf16 model of square tensors, zero but for the first 4096 bytes of each.
 *
 * @param {string} path
 * @param {{ layers: number, side: number, seed: number }} shape
 */
export async function sparseModel(path, { layers, side, seed }) {
  const [bytes, filled] = [side * side * 2, 4096];
  const names = Array.from({ length: layers }, (_, i) => `model.layers.${i}.mlp.up_proj.weight`).sort();
  const entries = names.map((name, i) => [name, { dtype: 'BF16', shape: [side, side], data_offsets: [i * bytes, (i + 1) * bytes] }]);
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = await open(path, 'w');
  await file.writev([length, header]);
  for (let i = 0; i < layers; i++) await file.write(noise(filled, seed * 1000 + i), 0, filled, 8 + header.length + i * bytes);
  await file.truncate(8 + header.length + layers * bytes);
  await file.close();
}

/** A 32-bit number, then a 64-bit one for each further value. */
function numbers(first, ...others) {
  const bytes = Buffer.alloc(4 + 8 * others.length);
  bytes.writeUInt32LE(first);
  others.forEach((value, i) => bytes.writeBigUInt64LE(BigInt(value), 4 + 8 * i));
  return bytes;
}

const text = (string) => [numbers(Buffer.byteLength(string)), Buffer.from(string)];

/**
 * The bytes of an int4 delta whose headers are true, and whose arrays and checksum are zeros.
 *
 * @param {[name: string, shape: number[]][]} tensors
 */
export function hollowDelta(tensors) {
  const sorted = [...tensors].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const parts = [];
  const described = sorted.map(([name, shape]) => {
    const values = shape.reduce((product, side) => product * side, 1);
    const outliers = Math.max(1, Math.floor(values * 0.01));
    for (const [field, dtype, elements, width] of [
      ['outlier_idx', 'int64', outliers, 8],
      ['outlier_vals', 'float16', outliers, 2],
      ['scale', 'float16', 1, 2],
      ['zero_point', 'float16', 1, 2],
      ['packed', 'uint8', Math.ceil((values - outliers) / 2), 1],
    ])
      parts.push(...text(name), ...text(field), ...text(dtype), numbers(1, elements, elements * width), Buffer.alloc(elements * width));
    const entry = { strategy: 'int4', shape, dtype: 'float32', outlier_fraction: 0.01, n_elements: values, n_outliers: outliers };
    return `${JSON.stringify(name)}:${JSON.stringify(entry)}`;
  });
  const header = `{"parent_hash":"${'5a'.repeat(32)}","strategy":"int4","tensors":{${described.join(',')}}}`;
  return Buffer.concat([Buffer.from('wdelta\0'), numbers(1), ...text(header), ...parts, Buffer.alloc(32)]);
}
