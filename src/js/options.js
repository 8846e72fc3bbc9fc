// @ts-check
// What each call takes, checked before anything is opened: names, types, and which option was meant.
/** @import { CallOptions, OutputTarget } from './types.js' */
import { checkType, lookUp } from './checks.js';
import { usage } from './errors.js';

/** Sources are `model`, `delta` (one file) and `deltas`; `!` marks what must be given. The core checks values. */
const CALL = { signal: 'signal', onProgress: 'function', workers: 'workers', allowFullRead: 'boolean' };
const OUTPUT = { output: 'output', force: 'boolean' };
/** @type {Record<string, Record<string, string>>} */
const JOBS = {
  inspect: { delta: 'delta!' },
  encode: {
    base: 'model!',
    finetuned: 'model!',
    parents: 'deltas',
    strategy: 'string',
    effort: 'number|string',
    lowRank: 'string',
    quality: 'number|string',
    ratio: 'number|string',
    outlierFraction: 'number|string',
    sparsity: 'number|string',
    reference: 'boolean',
    baseName: 'string',
    hashOrder: 'string',
    ...OUTPUT,
  },
  decode: { base: 'model!', deltas: 'deltas!', dtype: 'string', verify: 'boolean', sideFiles: 'boolean', layout: 'string', ...OUTPUT },
  verify: { deltas: 'deltas!', base: 'model' },
  lineage: { deltas: 'deltas!', base: 'model' },
  tensors: { base: 'model', deltas: 'deltas', names: 'names', rows: 'rows', as: 'string' },
  stats: { deltas: 'deltas!', base: 'model', names: 'names', bins: 'number' },
  diff: { a: 'model!', b: 'model!', base: 'model' },
  hash: { model: 'model!', as: 'string' },
};

/** Names of the core's roles where they are not the option's. @type {Record<string, string>} */
const ROLES = { parents: 'delta', deltas: 'delta', model: 'base' };

/**
 * @typedef {object} Argument
 * @property {string} label how the caller calls it
 * @property {string} role
 * @property {number} group which argument of that role
 * @property {boolean} single must be one file
 * @property {unknown} input
 */

/**
 * @typedef {object} Sorted
 * @property {Argument[]} inputs
 * @property {Record<string, unknown>} options for the core
 * @property {CallOptions} call
 * @property {OutputTarget | undefined} output
 * @property {boolean} force
 * @property {boolean} writes whether this job has an output
 */

/**
 * Sorts the options of a call into sources, options of the core, and what stays in the host.
 * @param {string} kind
 * @param {any} given
 * @returns {Sorted}
 */
export function sortOptions(kind, given) {
  const known = { ...lookUp(kind, JOBS, 'job'), ...CALL };
  /** @type {Sorted} */
  const sorted = { inputs: [], options: {}, call: {}, output: undefined, force: false, writes: 'output' in known };
  for (const { name, value, type } of checkOptions(kind, given, known)) {
    if (name in CALL) Object.assign(sorted.call, { [name]: value });
    else if (name in OUTPUT) Object.assign(sorted, { [name]: value });
    else if (/^(model|delta)/.test(type)) addInputs(sorted.inputs, name, value, type);
    else sorted.options[name] = value;
  }
  for (const [name, type] of Object.entries(known)) {
    if (type.endsWith('!') && given[name] === undefined) throw usage(`${kind}() needs ${name}`);
  }
  return sorted;
}

/**
 * The options of a call that are set, each of them known and of its type.
 * @param {string} kind
 * @param {any} given
 * @param {Record<string, string>} known types by name
 */
export function checkOptions(kind, given, known) {
  if (given === null || typeof given !== 'object') throw usage(`${kind}() takes an object with ${Object.keys(known).join(', ')}`);
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return set.map(([name, value]) => {
    const type = lookUp(name, known, `option of ${kind}()`).replace('!', '');
    checkType(name, value, type);
    return { name, value, type };
  });
}

/**
 * @param {Argument[]} inputs
 * @param {string} name
 * @param {any} value
 * @param {string} type
 */
function addInputs(inputs, name, value, type) {
  const role = ROLES[name] ?? name;
  if (type !== 'deltas') {
    inputs.push({ label: name, role, group: 0, single: type === 'delta', input: value });
    return;
  }
  const several = typeof value === 'object' && value?.[Symbol.iterator] && !ArrayBuffer.isView(value);
  const list = several ? [...value] : [value];
  if (name === 'deltas') filled(list, name);
  list.forEach((input, group) => inputs.push({ label: `${name}[${group}]`, role, group, single: true, input }));
}

/**
 * Refuses what looks as if nothing had been given.
 * @template T
 * @param {T[]} list of files
 * @param {string} label
 */
export function filled(list, label) {
  if (!list.length) throw usage(`${label} is an empty list or folder; give at least one file`);
  return list;
}
