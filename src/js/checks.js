// @ts-check
// Whether a value is of the type that an option has, and which name was meant. A caller whose calls are known to be right, by their types, needs none
// of it: see STAND_INS in pkg-scripts/lib/bundle.mjs.
import { usage } from './errors.js';

/** @param {string} type */
const listOf = (type) => (/** @type {any} */ value) => Array.isArray(value) && value.every((one) => typeof one === type);

/** What a path, a handle or bytes can be. @param {any} value */
const place = (value) => value && /string|object/.test(typeof value);

/** Types that `typeof` does not know: a test, and how they are called. @type {Record<string, [(value: any) => boolean, string]>} */
const TYPES = {
  signal: [(value) => value instanceof AbortSignal, 'an AbortSignal'],
  workers: [(value) => Number.isInteger(value) && value >= 0 && value <= 64, 'a whole number from 0 to 64'],
  names: [listOf('string'), 'a list of names'],
  rows: [listOf('number'), 'a list of numbers'],
  output: [place, 'a path, a handle, a stream or an object'],
  module: [place, 'a URL, bytes or a WebAssembly.Module'],
  model: [() => true, ''],
  delta: [() => true, ''],
  deltas: [() => true, ''],
};

/**
 * @param {string} name
 * @param {any} value
 * @param {string} type
 */
export function checkType(name, value, type) {
  const [fits, wanted] = TYPES[type] ?? [(one) => type.split('|').includes(typeof one) && (typeof one !== 'number' || Number.isFinite(one)), `a ${type.replace('|', ' or ')}`];
  if (!fits(value)) throw usage(`${name} must be ${wanted}, not ${said(value)}`);
}

/**
 * What goes by a name; throws where nothing does.
 * @template T
 * @param {string} name
 * @param {Record<string, T>} known
 * @param {string} what
 * @returns {T}
 */
export function lookUp(name, known, what) {
  const text = typeof name === 'string';
  if (text && Object.hasOwn(known, name)) return known[name];
  const names = Object.keys(known);
  const meant = text && suggest(name, names);
  throw usage(`there is no ${what} called ${said(name)}; ${meant || `known are ${names.join(', ')}`}`);
}

/** @param {unknown} value */
const said = (value) => (typeof value === 'string' ? JSON.stringify(value) : value && typeof value === 'object' ? 'an object' : String(value));

/**
 * "did you mean" for a misspelled word, if one comes near.
 * @param {string} word
 * @param {string[]} known
 */
export function suggest(word, known) {
  const [best] = known.map((name) => ({ name, far: distance(word.toLowerCase(), name.toLowerCase()) })).sort((a, b) => a.far - b.far);
  return best && best.far <= Math.max(2, word.length / 3) ? `did you mean ${best.name}?` : undefined;
}

/**
 * Letters to insert, delete or change to make `b` of `a`.
 * @param {string} a
 * @param {string} b
 */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1]));
    }
    row = next;
  }
  return row[b.length];
}
