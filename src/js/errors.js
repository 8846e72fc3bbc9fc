// @ts-check
// The one error class of the package, and how errors of the core and of the host become it.
/** @import { CoreError, ErrorCode, ErrorDetails } from './types.js' */

/** An error with a stable code, a sentence that says what to do, and where it happened. */
export class WdeltaError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {ErrorDetails} [details]
   */
  constructor(code, message, { tensor, offset, source, retryable, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'WdeltaError';
    /** Stable: match on it. */
    this.code = code;
    /** Name of the tensor concerned. */
    this.tensor = tensor;
    /** Byte position in `source`. */
    this.offset = offset;
    /** Name of the file or URL concerned. */
    this.source = source;
    /** Whether the same call may succeed later. */
    this.retryable = retryable ?? (code === 'SOURCE_CHANGED' || code === 'ABORTED');
  }
}

/**
 * A mistake of the caller.
 * @param {string} message
 */
export const usage = (message) => new WdeltaError('USAGE', message);

/** Whether an error already has one of our codes: the core and the workers throw plain objects. @param {any} thrown */
const isOurs = (thrown) => thrown instanceof WdeltaError || (thrown?.code && !(thrown instanceof Error));

/** Reasons by `name` of the browser's errors; Node adds those by its `code`. @type {Record<string, string>} */
export const REASONS = {
  NotFoundError: 'there is no such file or folder',
  NotAllowedError: 'permission is denied',
  QuotaExceededError: 'there is no room left; free some space and run it again',
  NoModificationAllowedError: 'another tab or program is writing to it',
};

/**
 * What a failed read or write of `source` means.
 * @param {any} cause
 * @param {string} source
 * @param {'read' | 'written'} [done]
 * @returns {CoreError}
 */
export function fileError(cause, source, done = 'read') {
  if (isOurs(cause)) return cause;
  if (cause?.name === 'NotReadableError' && done === 'read') return changed(source);
  const reason = REASONS[cause?.code] ?? REASONS[cause?.name] ?? cause?.message ?? String(cause);
  const retryable = /ENOSPC|EDQUOT|EMFILE|Quota|NoMod/.test(cause?.code + cause?.name);
  return { code: 'IO', message: `${source} cannot be ${done}: ${reason}`, source, retryable, cause };
}

/**
 * For `catch`: throws what a failed read or write of `source` means.
 * @param {string} source
 * @param {'read' | 'written'} [done]
 * @returns {(cause: unknown) => never}
 */
export const failed = (source, done) => (cause) => {
  throw fileError(cause, source, done);
};

/**
 * @param {string} source
 * @returns {CoreError}
 */
export const changed = (source) => ({
  code: 'SOURCE_CHANGED',
  message: `${source} changed after it was opened; wait until it is complete, then choose it again`,
  source,
});

/**
 * Any thrown value as a `WdeltaError`.
 * @param {any} thrown
 * @param {{ name: string }[]} [files] sources, then outputs: what `sourceId` counts
 * @returns {WdeltaError}
 */
export function toError(thrown, files = []) {
  if (thrown instanceof WdeltaError) return thrown;
  if (!isOurs(thrown)) {
    if (thrown?.syscall || thrown instanceof DOMException) return toError(fileError(thrown, thrown.path ?? 'a file'));
    return new WdeltaError('INTERNAL', `wdelta failed: ${thrown?.message ?? thrown}; please report this`, { cause: thrown });
  }
  return new WdeltaError(thrown.code, thrown.message, {
    ...thrown,
    source: thrown.source ?? files[thrown.sourceId]?.name,
  });
}

/**
 * Any thrown value as data that can be posted.
 * @param {any} thrown
 * @returns {CoreError}
 */
export function toPlain(thrown) {
  const error = isOurs(thrown) ? thrown : toError(thrown);
  const { message, cause } = error;
  // Neither belongs to what is copied of an `Error`.
  return { ...error, message, cause: cause && new Error(cause.message ?? cause) };
}

/** @param {AbortSignal} signal */
const aborted = (signal) => new WdeltaError('ABORTED', 'the caller aborted', { cause: signal.reason });

/** @param {AbortSignal | undefined} signal */
export function checkAbort(signal) {
  if (signal?.aborted) throw aborted(signal);
}

/**
 * `promise`, or `ABORTED` as soon as the signal says so; what the promise does afterwards is ignored.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<T>}
 */
export function orAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(aborted(signal));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
