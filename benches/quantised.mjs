#!/usr/bin/env node
// What fine-tunes of quantised models take: random matrices and changes, rounded to four bits with a scale for each group of
// 128 weights, eight to an I32 along the inputs, as GPTQ packs them.
//
//   node pkg-scripts/build.mjs && node benches/quantised.mjs
//
// Bits per weight of the whole file without the scales, beside the order-0 entropy of the differences of nibbles, modulo 16.
// `size`: deviation of the changes, over that of the weights.
import { decode, encode } from '../pkg/node.js';
import { writeModel } from '../pkg-scripts/lib/safetensors.mjs';

const [INPUTS, OUTPUTS, GROUP] = [1024, 1024, 128];
const TENSORS = 2;

let state = 1;
/** Uniform on (0, 1). */
const uniform = () => ((state = (Math.imul(state, 48271) >>> 0) % 2147483647) + 0.5) / 2147483648;
/** Gaussian with a deviation of 1, by Box and Muller. */
const gaussian = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());

/** @param {Float32Array} weights of a matrix [OUTPUTS, INPUTS]; gives its levels, 0 to 15, as [INPUTS, OUTPUTS] */
function quantised(weights) {
  const levels = new Uint8Array(weights.length);
  for (let o = 0; o < OUTPUTS; o++) {
    for (let at = 0; at < INPUTS; at += GROUP) {
      const group = weights.subarray(o * INPUTS + at, o * INPUTS + at + GROUP);
      const scale = group.reduce((most, w) => Math.max(most, Math.abs(w)), 0) / 7;
      group.forEach((w, i) => (levels[(at + i) * OUTPUTS + o] = Math.round(w / scale) + 8));
    }
  }
  return levels;
}

/** @param {Uint8Array} levels */
function packed(levels) {
  const words = new Uint32Array(levels.length / 8);
  for (let i = 0; i < INPUTS; i++) {
    for (let o = 0; o < OUTPUTS; o++) words[(i >> 3) * OUTPUTS + o] |= levels[i * OUTPUTS + o] << (4 * (i & 7));
  }
  return new Uint8Array(words.buffer);
}

/** Bits for each difference, by their order-0 entropy. @param {Uint8Array[][]} levels */
function entropy([before, after]) {
  const counts = Array(16).fill(0);
  before.forEach((levels, t) => levels.forEach((level, i) => counts[(after[t][i] - level) & 15]++));
  const all = counts.reduce((a, b) => a + b);
  return counts.filter(Boolean).reduce((bits, c) => bits - (c / all) * Math.log2(c / all), 0);
}

console.log('| size | levels that moved | bits | entropy of the differences |\n|---:|---:|---:|---:|');
for (const size of [0.003, 0.01, 0.03, 0.1, 0.3]) {
  /** @type {Uint8Array[][]} */
  const levels = [[], []];
  for (let t = 0; t < TENSORS; t++) {
    const weights = Float32Array.from({ length: INPUTS * OUTPUTS }, gaussian);
    levels[0].push(quantised(weights));
    levels[1].push(quantised(weights.map((w) => w + size * gaussian())));
  }
  const [base, finetuned] = levels.map((model) =>
    writeModel(new Map(model.map((l, t) => [`model.layers.${t}.mlp.up_proj.qweight`, { dtype: 'I32', shape: [INPUTS / 8, OUTPUTS], bytes: packed(l) }]))),
  );
  const { data } = await encode({ base, finetuned });
  const rebuilt = await decode({ base, deltas: [data] });
  if (Buffer.compare(Buffer.from(rebuilt.data), Buffer.from(finetuned)) !== 0) throw new Error('another model came back');
  const moved = levels[0].flatMap((l, t) => [l.filter((x, i) => x !== levels[1][t][i]).length]).reduce((a, b) => a + b) / (TENSORS * INPUTS * OUTPUTS);
  const bits = (data.length * 8) / (TENSORS * INPUTS * OUTPUTS);
  console.log(`| ${size} | ${(100 * moved).toFixed(1)} % | ${bits.toFixed(3)} | ${entropy(levels).toFixed(3)} |`);
}
