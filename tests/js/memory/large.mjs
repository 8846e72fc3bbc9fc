// Models too large to hold: written piece by piece, or as files with holes.
import { open } from 'node:fs/promises';

const BYTES = { BF16: 2, F32: 4 };

/**
 * @param {{ name: string, dtype: 'BF16' | 'F32', shape: number[] }[]} tensors in file order
 * @returns header bytes, position of each tensor in the file, and the file's size
 */
export function layout(tensors) {
  const header = {};
  let at = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = at + shape.reduce((product, n) => product * n, BYTES[dtype]);
    header[name] = { dtype, shape, data_offsets: [at, end] };
    at = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const text = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const start = 8 + text.length;
  return {
    head: Buffer.concat([length, text]),
    offsets: Object.fromEntries(Object.entries(header).map(([name, entry]) => [name, start + entry.data_offsets[0]])),
    size: start + at,
  };
}

/**
 * A file of zeros that takes no room but for the header and the patches.
 *
 * @param {string} path
 * @param {ReturnType<typeof layout>} form
 * @param {[offset: number, bytes: Uint8Array][]} patches
 */
export async function writeHoles(path, { head, size }, patches) {
  const file = await open(path, 'w');
  await file.truncate(size);
  await file.write(head, 0, head.length, 0);
  for (const [offset, bytes] of patches) await file.write(bytes, 0, bytes.length, offset);
  await file.close();
}

/** Repeatable pseudo-random 32-bit numbers (xorshift). */
export function numbers(seed) {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

/**
 * A base and a fine-tune in bf16: ordinary weights, of which about half move by one or two units in the last place.
 *
 * @param {[base: string, finetuned: string]} paths
 * @param {ReturnType<typeof layout>} form
 */
export async function writePair(paths, { head, size }) {
  const random = numbers(1);
  const count = 1 << 20;
  const base = new Uint16Array(count);
  const moved = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const r = random();
    base[i] = (r & 0x8000) | (0x3c00 + (r & 0x1ff));
    moved[i] = base[i] + ((r >>> 20) & 1) * (1 + ((r >>> 21) & 1));
  }
  for (const [path, block] of [
    [paths[0], base],
    [paths[1], moved],
  ]) {
    const file = await open(path, 'w');
    await file.write(head);
    const bytes = new Uint8Array(block.buffer);
    for (let at = head.length; at < size; at += bytes.length) await file.write(bytes, 0, Math.min(bytes.length, size - at));
    await file.close();
  }
}
