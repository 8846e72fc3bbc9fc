#!/usr/bin/env node
// What fine-tunes take into which a LoRA adapter was merged: random matrices, random adapters.
//
//   node pkg-scripts/build.mjs && node benches/adapters.mjs
//
// Bits per weight of the whole file, by default and without a low-rank prediction, beside what the adapter's own factors
// would take as bfloat16. `size`: deviation of what the adapter adds, over that of the weights.
import { encode } from '../pkg/node.js';
import { writeModel } from '../pkg-scripts/lib/safetensors.mjs';

const [ROWS, COLUMNS] = [1024, 2048];
const TENSORS = 2;

let state = 1;
/** Uniform on (0, 1). */
const uniform = () => ((state = (Math.imul(state, 48271) >>> 0) % 2147483647) + 0.5) / 2147483648;
/** Gaussian with a deviation of 1, by Box and Muller. */
const gaussian = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
const gaussians = (/** @type {number} */ n) => Float32Array.from({ length: n }, gaussian);

/** Rounds float32 to bfloat16, to nearest even. */
function bfloat16(/** @type {Float32Array} */ values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
}

/** bfloat16 as float32. */
const widened = (/** @type {Uint16Array} */ words) => new Float32Array(Uint32Array.from(words, (w) => w << 16).buffer);

/** @param {number} rank @param {number} size */
function pair(rank, size) {
  const models = [new Map(), new Map()];
  for (let t = 0; t < TENSORS; t++) {
    const words = bfloat16(gaussians(ROWS * COLUMNS).map((w) => 0.02 * w));
    const weights = widened(words);
    const [down, up] = [gaussians(rank * COLUMNS), gaussians(rank * ROWS)];
    const gain = (0.02 * size) / Math.sqrt(rank);
    const merged = new Float32Array(ROWS * COLUMNS);
    for (let i = 0; i < ROWS; i++) {
      for (let k = 0; k < rank; k++) {
        const factor = gain * up[i * rank + k];
        for (let j = 0; j < COLUMNS; j++) merged[i * COLUMNS + j] += factor * down[k * COLUMNS + j];
      }
    }
    for (let i = 0; i < merged.length; i++) merged[i] += weights[i];
    for (const [model, values] of /** @type {const} */ ([[models[0], words], [models[1], bfloat16(merged)]])) {
      const bytes = new Uint8Array(values.buffer);
      model.set(`model.layers.${t}.mlp.up_proj.weight`, { dtype: 'BF16', shape: [ROWS, COLUMNS], bytes });
    }
  }
  return models.map(writeModel);
}

/** @param {Uint8Array} base @param {Uint8Array} finetuned @param {object} options */
async function bits(base, finetuned, options) {
  const { data } = await encode({ base, finetuned, ...options });
  return (data.length * 8) / (TENSORS * ROWS * COLUMNS);
}

console.log('| rank | size | default | low rank off | factors as bfloat16 |\n|---:|---:|---:|---:|---:|');
for (const rank of [8, 16, 32, 64]) {
  for (const size of [0.003, 0.03, 0.3]) {
    const [base, finetuned] = pair(rank, size);
    const found = [await bits(base, finetuned, {}), await bits(base, finetuned, { lowRank: 'off' })];
    const factors = (16 * rank * (ROWS + COLUMNS)) / (ROWS * COLUMNS);
    console.log(`| ${rank} | ${size} | ${found.map((b) => b.toFixed(2)).join(' | ')} | ${factors.toFixed(2)} |`);
  }
}
