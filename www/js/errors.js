// @ts-check
// What each error code means to a person, and what they can do about it.

/** @import { Problem } from './types.js' */

/**
 * Actions that an error may offer: `choose` the file again, `base` another base, `lineage` the chain's view, `fetch` the
 * whole file, `retry`, `reload` the page.
 * @typedef {{ title: string, advice: string, action?: 'choose' | 'base' | 'lineage' | 'fetch' | 'retry' | 'reload' }} Meaning
 */

/** @type {Map<string, Meaning>} one entry per code of the package's table */
export const MEANINGS = new Map([
  [
    'NOT_WDELTA',
    {
      title: 'Not a file for this page',
      advice: 'Choose a .wdelta file, or a model as .safetensors.',
      action: 'choose',
    },
  ],
  [
    'UNSUPPORTED_VERSION',
    {
      title: 'Made by a newer wdelta',
      advice: 'Reload this page while online to update it.',
      action: 'reload',
    },
  ],
  [
    'TRUNCATED',
    {
      title: 'The file ends too early',
      advice: 'Get the file again and compare its size.',
      action: 'choose',
    },
  ],
  [
    'CHECKSUM',
    {
      title: 'The bytes are damaged',
      advice: 'Get the file again; nothing rebuilt from it can be trusted.',
      action: 'choose',
    },
  ],
  [
    'MALFORMED',
    {
      title: 'The file breaks its format',
      advice: 'Get the file again, or tell whoever made it.',
      action: 'choose',
    },
  ],
  [
    'WRONG_BASE',
    {
      title: 'Made against another base',
      advice:
        'Another dtype or revision is another base. If the delta continues a chain, open the deltas before it.',
      action: 'base',
    },
  ],
  [
    'BROKEN_CHAIN',
    {
      title: 'The deltas do not follow each other',
      advice: 'One may be missing, or their order wrong.',
      action: 'lineage',
    },
  ],
  [
    'MISSING_TENSOR',
    {
      title: 'A tensor is on one side only',
      advice: 'Check that both are of the same model, and no shard is missing.',
      action: 'base',
    },
  ],
  [
    'SHAPE_MISMATCH',
    {
      title: 'A tensor has another shape',
      advice:
        'Check that the fine-tune started from this base; added vocabulary rows change shapes too.',
      action: 'base',
    },
  ],
  [
    'UNSUPPORTED_DTYPE',
    {
      title: 'A dtype that cannot be handled',
      advice: 'Convert the model to float32, float16 or bfloat16 first.',
      action: 'choose',
    },
  ],
  [
    'NON_FINITE',
    {
      title: 'NaN or infinity in a tensor',
      advice: 'Check the checkpoint, or take an earlier one.',
      action: 'choose',
    },
  ],
  [
    'LIMIT',
    {
      title: 'Over a safety limit',
      advice:
        'If the file is good, use the command line on a machine with more room.',
    },
  ],
  [
    'NO_RANGES',
    {
      title: 'The server sends whole files only',
      advice: 'Download the whole file and open the copy.',
      action: 'fetch',
    },
  ],
  [
    'SOURCE_CHANGED',
    {
      title: 'A file changed on disk',
      advice: 'Choose it again when nothing writes to it any more.',
      action: 'choose',
    },
  ],
  ['USAGE', { title: 'Not possible like this', advice: 'Change what the message names and start again.' }],
  [
    'IO',
    {
      title: 'Reading or writing failed',
      advice: 'Check that the disk has room and the file still exists; then try again.',
      action: 'retry',
    },
  ],
  ['ABORTED', { title: 'Cancelled', advice: 'Nothing was left behind.', action: 'retry' }],
  [
    'INTERNAL',
    {
      title: 'A defect of wdelta',
      advice: 'Your files are untouched. Report the details, then try again.',
      action: 'retry',
    },
  ],
]);

/** @param {string} code */
export const meaning = (code) => MEANINGS.get(code) ?? /** @type {Meaning} */ (MEANINGS.get('INTERNAL'));

/**
 * Anything thrown, as a problem that can be shown.
 * @param {unknown} thrown
 * @returns {Problem}
 */
export function problemOf(thrown) {
  const error = /** @type {Partial<Problem> & { name?: string, stack?: string, cause?: unknown }} */ (
    thrown instanceof Object ? thrown : { message: String(thrown) }
  );
  const message = error.message || String(thrown);
  if (error.code && MEANINGS.has(error.code)) {
    const { code, tensor, offset, source, retryable } = error;
    return { code, message, tensor, offset, source, retryable };
  }
  switch (error.name) {
    case 'AbortError':
      return { code: 'ABORTED', message: 'Cancelled.' };
    case 'NotReadableError':
    case 'NotFoundError':
      return { code: 'SOURCE_CHANGED', message: `The browser cannot read the file any more: ${message}` };
    case 'NotAllowedError':
    case 'SecurityError':
      return { code: 'IO', message: `The browser did not allow it: ${message}` };
    case 'QuotaExceededError':
      return {
        code: 'IO',
        message: 'The browser has no room left for this site. Delete private copies, or save to a file instead.',
      };
    default:
      return { code: 'INTERNAL', message, detail: error.stack };
  }
}

/**
 * The details that "copy details" copies. Never file contents.
 * @param {Problem} problem
 * @param {string} version
 */
export function details(problem, version) {
  const lines = [`${problem.code}: ${problem.message}`];
  if (problem.source) lines.push(`file: ${problem.source}`);
  if (problem.tensor) lines.push(`tensor: ${problem.tensor}`);
  if (problem.offset !== undefined) lines.push(`offset: ${problem.offset}`);
  if (problem.detail) lines.push(problem.detail);
  lines.push(`wdelta ${version}, ${navigator.userAgent}`);
  return lines.join('\n');
}
