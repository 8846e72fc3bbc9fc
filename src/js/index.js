// @ts-check
/**
 * wdelta stores a fine-tune as a small delta against its base model, and rebuilds it. This is the entry for browsers;
 * in Node, node.js adds paths. Every call that can take longer than a moment takes `signal`, `onProgress`, `workers`.
 *
 * ```js
 * import { decode, inspect } from 'wdelta';
 * const { tensors } = await inspect(file);
 * await decode({ base: folder, deltas: [file], output: handle, onProgress: ({ phase, done, total }) => show(phase, done, total) });
 * ```
 * @module wdelta
 */
/** @import * as T from './types.js' */
import * as core from './core.js';
import { finish, runJob } from './job.js';
import { checkOptions } from './options.js';
import { platform } from './platform.js';

export { WdeltaError } from './errors.js';
export { groupsOf, placeOf } from './grouping.js';

/**
 * Types for users.
 * @typedef {T.ErrorCode} ErrorCode
 * @typedef {T.FileInput} FileInput
 * @typedef {T.ModelInput} ModelInput
 * @typedef {T.SourceObject} SourceObject
 * @typedef {T.SinkObject} SinkObject
 * @typedef {T.OutputTarget} OutputTarget
 * @typedef {T.ProgressEvent} ProgressEvent
 * @typedef {T.CallOptions} CallOptions
 * @typedef {T.EncodeOptions} EncodeOptions
 * @typedef {T.DecodeOptions} DecodeOptions
 * @typedef {T.ChainOptions} ChainOptions
 * @typedef {T.TensorsOptions} TensorsOptions
 * @typedef {T.StatsOptions} StatsOptions
 * @typedef {T.DiffOptions} DiffOptions
 * @typedef {T.HashOptions} HashOptions
 * @typedef {T.PlanOptions} PlanOptions
 * @typedef {T.InitOptions} InitOptions
 * @typedef {T.Finding} Finding
 * @typedef {T.Plan} Plan
 * @typedef {T.Inspection} Inspection
 * @typedef {T.InspectedTensor} InspectedTensor
 * @typedef {T.Place} Place
 * @typedef {T.Group} Group
 * @typedef {T.EncodeReport} EncodeReport
 * @typedef {T.EncodedTensor} EncodedTensor
 * @typedef {T.DecodeReport} DecodeReport
 * @typedef {T.VerifyReport} VerifyReport
 * @typedef {T.Lineage} Lineage
 * @typedef {T.TensorPiece} TensorPiece
 * @typedef {T.TensorStats} TensorStats
 * @typedef {T.DiffReport} DiffReport
 * @typedef {T.HashReport} HashReport
 */

/**
 * Loads the core ahead of the first call, or from another place. Only the first call counts.
 * @param {T.InitOptions} [options]
 * @returns {Promise<void>}
 */
export async function init(options = {}) {
  checkOptions('init', options, { module: 'module', encoder: 'module', createWorker: 'function' });
  const { module, encoder, createWorker } = options;
  if (createWorker) platform.createWorker = createWorker;
  if (encoder) core.engine.encoder = /** @type {any} */ (encoder);
  await core.load(/** @type {any} */ (module));
}

/**
 * The version of the core.
 * @returns {Promise<string>}
 */
export async function version() {
  await core.load();
  return core.version();
}

/**
 * The table of error codes and what they mean.
 * @returns {Promise<{ code: T.ErrorCode, meaning: string }[]>}
 */
export async function errorCodes() {
  await core.load();
  return core.errorCodes();
}

/**
 * Shows what a delta holds. Reads its header only.
 * @param {T.FileInput} delta
 * @param {T.CallOptions} [options]
 * @returns {Promise<T.Inspection>}
 */
export const inspect = (delta, options) => finish('inspect', { ...options, delta });

/**
 * Says what a job would do, before any work: sizes, outputs, problems.
 * @param {T.PlanOptions} options `job`, and what that call takes
 * @returns {Promise<T.Plan>}
 */
export const plan = (options) => {
  const { job, ...others } = { ...options };
  return finish(job, others, true);
};

/**
 * Makes a delta of a fine-tune. Without `output` the report has it as `data`.
 * @param {T.EncodeOptions} options
 * @returns {Promise<T.EncodeReport>}
 */
export const encode = (options) => finish('encode', options);

/**
 * Rebuilds a fine-tune. `output` is a file, or a folder when there are several files; without it the report has `data`, or
 * `files` with `data` each.
 * @param {T.DecodeOptions} options
 * @returns {Promise<T.DecodeReport>}
 */
export const decode = (options) => finish('decode', options);

/**
 * Reads deltas to the end and checks everything; with `base`, also that they fit. Throws on bad data.
 * @param {T.ChainOptions} options
 * @returns {Promise<T.VerifyReport>}
 */
export const verify = (options) => finish('verify', options);

/**
 * Finds the order of deltas and which link does not fit.
 * @param {T.ChainOptions} options
 * @returns {Promise<T.Lineage>}
 */
export const lineage = (options) => finish('lineage', options);

/**
 * Compares two models or two deltas.
 * @param {T.DiffOptions} options
 * @returns {Promise<T.DiffReport>}
 */
export const diff = (options) => finish('diff', options);

/**
 * The hashes by which version 1 knows a base, in both orders.
 * @param {T.HashOptions} options
 * @returns {Promise<T.HashReport>}
 */
export const hash = (options) => finish('hash', options);

/**
 * Reads tensors of a rebuilt model in bounded pieces, without writing it anywhere. A large one is read in a worker.
 * @param {T.TensorsOptions} options
 * @returns {AsyncGenerator<T.TensorPiece, void, void> & AsyncDisposable}
 */
export const tensors = (options) => disposable(runJob('tensors', options));

/**
 * Describes each tensor of a decoded delta: moments, histogram, rows, outliers. A large one is read in a worker.
 * @param {T.StatsOptions} options
 * @returns {AsyncGenerator<T.TensorStats, void, void> & AsyncDisposable}
 */
export const stats = (options) => disposable(runJob('stats', options));

/**
 * Ends the job when its iterator is disposed of; older engines do not do that by themselves.
 * @template {AsyncGenerator} T
 * @param {T} job
 * @returns {T & AsyncDisposable}
 */
function disposable(job) {
  const dispose = Symbol.asyncDispose;
  if (dispose && !(dispose in job)) Object.assign(job, { [dispose]: () => job.return(undefined) });
  return /** @type {T & AsyncDisposable} */ (job);
}
