// @ts-check
// How large a delta gets whose size follows from its values: rows from all over the models are encoded, and scaled up.

import { encode, tensors } from '../api.js';

/** @import { DeltaSource, Source } from '../types.js' */

/** Bytes of a fine-tune that are encoded to estimate a delta's size, and bytes taken at each place: a second of work. */
const SAMPLE_BYTES = 8e6;
const SAMPLE_PART = 5e5;

/**
 * A tensor, with the bytes of a row and the rows of it that are taken.
 * @typedef {{ name: string, shape: number[], rows: number, row: number, taken: [from: number, to: number][] }} Part
 */

/**
 * @param {{ base: Source, finetuned: Source, parents: DeltaSource[] }} models
 * @param {object} options of the encoder
 * @param {AbortSignal} signal
 * @returns {Promise<{ bytes: number, sample: number } | null>} the size, and the share of the fine-tune it was told from;
 *   none where a model is behind a link, which is not read before it is asked for
 */
export async function estimate({ base, finetuned, parents }, options, signal) {
  if ([base, finetuned, ...parents].some((source) => typeof source === 'string')) return null;
  /** @type {Part[]} */
  const all = [];
  let total = 0;
  // One row of each tells its shape and how many bytes a row has.
  for await (const { name, shape, data } of tensors({ base: finetuned, rows: [0, 1], signal })) {
    const rows = shape[0] ?? 1;
    all.push({ name, shape, rows, row: data.length, taken: [[0, rows]] });
    total += rows * data.length;
  }
  const parts = total > SAMPLE_BYTES ? spread(all, total) : all;
  const sides = [];
  let size = 0;
  for (const side of [{ base, ...(parents.length ? { deltas: parents } : {}) }, { base: finetuned }]) {
    /** @type {Record<string, object>} */
    const header = {};
    /** @type {Uint8Array[]} */
    const content = [];
    size = 0;
    for (const { name, taken } of parts) {
      const start = size;
      const rows = taken.reduce((sum, [from, to]) => sum + to - from, 0);
      const pieces = [];
      try {
        for (const range of taken) for await (const piece of tensors({ ...side, names: [name], rows: range, signal })) pieces.push(piece);
      } catch (error) {
        // What the base lacks, or has in another shape, is stored whole.
        if (side.base === finetuned || signal.aborted) throw error;
        continue;
      }
      content.push(...pieces.map(({ data }) => /** @type {Uint8Array} */ (data)));
      size = pieces.reduce((sum, { data }) => sum + data.length, start);
      const [{ dtype, shape }] = pieces;
      header[name] = { dtype, shape: shape.length ? [rows, ...shape.slice(1)] : [], data_offsets: [start, size] };
    }
    const text = new TextEncoder().encode(JSON.stringify(header));
    sides.push(new Blob([new BigUint64Array([BigInt(text.length)]), text, .../** @type {Uint8Array<ArrayBuffer>[]} */ (content)]));
  }
  // What is small would run in this thread.
  const made = await encode({ base: sides[0], finetuned: sides[1], ...options, workers: size < 1e6 ? 1 : undefined, signal });
  const values = made.tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  // Values grow with the model, what describes them with the number of tensors.
  const bytes = Math.round((values * total) / size + ((made.bytes - values) * all.length) / parts.length);
  return { bytes, sample: size / total };
}

/** Rows at equal distances, measured in bytes through the whole model. @param {Part[]} all @param {number} total */
function spread(all, total) {
  const distance = (total * SAMPLE_PART) / SAMPLE_BYTES;
  /** @type {Part[]} */
  const parts = [];
  let next = distance / 2;
  let before = 0;
  for (const tensor of all) {
    const { rows, row } = tensor;
    const wanted = Math.min(rows, Math.ceil(SAMPLE_PART / row));
    /** @type {Part['taken']} */
    const taken = [];
    for (; next < before + rows * row; next += distance) {
      const middle = Math.floor((next - before) / row - wanted / 2);
      const from = Math.max(taken.at(-1)?.[1] ?? 0, Math.min(rows - wanted, middle));
      const to = Math.min(rows, from + wanted);
      if (from < to) taken.push([from, to]);
    }
    if (taken.length) parts.push({ ...tensor, taken });
    before += rows * row;
  }
  return parts;
}
