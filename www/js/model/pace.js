// @ts-check
// How far a job is. Its bytes do not cost the same: looking for what predicts a tensor takes longer than coding it.

/** @import { Plan, Strategy } from '../types.js' */

/**
 * What a job reads and writes, in order: bytes, and what one of them costs beside the others.
 * @typedef {[bytes: number, cost: number][]} Stages
 */

/** Version 2: the share of the models that is read to learn from it, and what a byte of that costs. @type {Record<string, [number, number]>} */
const LEARNING = { lossless: [0.34, 6.3], lossy: [0.48, 4.2] };
/** Bytes that lossless begins with, and that take it longest. */
const FIRST = 8e6;
/** Version 1: what a byte costs that is looked at, and one that is encoded. Hashing costs 13. @type {Record<string, [number, number]>} */
const PASSES = { int4: [6.5, 8.5], sparse: [9, 10], quantized: [5.5, 4] };

/**
 * Of making a delta, as measured with models of 87 and 988 MB.
 * @param {Pick<Plan, 'reads' | 'bytes'>} plan @param {Strategy} strategy @returns {Stages}
 */
export function makeStages({ reads, bytes }, strategy) {
  if (strategy in LEARNING) {
    // The plan counts both models twice.
    const models = reads / 2;
    const [share, cost] = LEARNING[strategy];
    const first = strategy === 'lossless' ? Math.min(FIRST, models * share) : 0;
    return [
      [first, 20],
      [models * share - first, cost],
      [models + bytes, 1],
    ];
  }
  // The base is hashed, then both models are read twice, and the delta once.
  const models = (reads - bytes) / 2.5;
  const [look, encode] = PASSES[strategy];
  return [
    [models / 2, 13],
    [models, look],
    [models + bytes, encode],
    [bytes, 13],
  ];
}

/**
 * Of a rebuild.
 * @param {Pick<Plan, 'reads' | 'writes' | 'bytes'>} plan @param {number} hashed bytes of the base that are hashed before anything else
 * @param {boolean} copied whether the result is copied to its place in the end
 * @returns {Stages}
 */
export const rebuildStages = ({ reads, writes, bytes }, hashed, copied) => [
  // Until the first byte headers are read and a worker starts.
  [1, 2e7],
  [hashed, 1.5],
  [reads + writes - hashed, 1],
  [copied ? bytes : 0, 0.5],
];

/** The share of the work that is done with these bytes. @param {Stages} stages @param {number} done */
export function shareOf(stages, done) {
  let spent = 0;
  let all = 0;
  for (const [bytes, cost] of stages) {
    all += bytes * cost;
    spent += Math.max(0, Math.min(bytes, done)) * cost;
    done -= bytes;
  }
  return all ? spent / all : 1;
}
