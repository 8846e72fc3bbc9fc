// @ts-check
// Text from a model, token by token: greedy, or drawn with a seed.

import { softmax } from './llama.js';

/** Begin-of-text token of the Llama family. */
const BOS = 1;
/** End-of-text token of the Llama family. */
const EOS = 2;

/**
 * Continues a prompt.
 *
 * @param {import('./llama.js').Llama} model its state is reset first
 * @param {import('./tokenizer.js').Tokenizer} tokenizer
 * @param {string} prompt
 * @param {{ tokens?: number, temperature?: number, seed?: number }} [options] how many tokens at most; temperature 0 takes
 *   the likeliest token each time, above 0 draws by probability; the seed makes a draw repeatable
 * @yields {string} text, as soon as it is complete
 */
export function* generate(model, tokenizer, prompt, { tokens = 128, temperature = 0, seed = 1 } = {}) {
  const random = mulberry32(seed);
  const decoder = tokenizer.decoder();
  const given = [BOS, ...(prompt ? tokenizer.encode(prompt) : [])];
  /** @type {Float32Array} */
  let scores = new Float32Array();
  model.reset();
  for (const token of given) {
    scores = model.forward(token);
    decoder.push(token);
  }
  for (let i = 0; i < tokens; i++) {
    const token = temperature > 0 ? draw(softmax(scores, temperature), random()) : likeliest(scores);
    if (token === BOS || token === EOS) return;
    yield decoder.push(token);
    scores = model.forward(token);
  }
}

/** @param {Float32Array} scores @returns {number} the first of the highest */
function likeliest(scores) {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
  return best;
}

/** @param {number[]} probabilities @param {number} point in [0, 1) */
function draw(probabilities, point) {
  let sum = 0;
  for (let i = 0; i < probabilities.length; i++) {
    sum += probabilities[i];
    if (point < sum) return i;
  }
  return probabilities.length - 1;
}

/**
 * A small seeded generator of numbers in [0, 1) (mulberry32 by Tommy Ettinger, public domain).
 * @param {number} seed
 */
function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
