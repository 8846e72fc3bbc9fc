// @ts-check
// What each error code means to a person, and what they can do about it.

/** @import { Entry, Problem } from './types.js' */

/**
 * Actions that an error may offer: `choose` the file again, `base` another base, `lineage` the chain's view, `fetch` the
 * whole file, `retry`, `reload` the page.
 * @typedef {{ title: string, advice: string, action?: 'choose' | 'base' | 'lineage' | 'fetch' | 'retry' | 'reload' }} Meaning
 */

const TABLE = /** @type {[code: string, title: string, advice: string, action?: Meaning['action']][]} */ ([
  ['NOT_WDELTA', 'Not a file for this page', 'Choose a .wdelta file, or a model as .safetensors.', 'choose'],
  ['UNSUPPORTED_VERSION', 'Made by a newer wdelta', 'Reload this page while online to update it.', 'reload'],
  ['TRUNCATED', 'The file ends too early', 'Get the file again and compare its size.', 'choose'],
  ['CHECKSUM', 'The bytes are damaged', 'Get the file again.', 'choose'],
  ['MALFORMED', 'The file breaks its format', 'Get the file again, or tell whoever made it.', 'choose'],
  [
    'WRONG_BASE',
    'Made against another base',
    'If the delta continues a chain, open the deltas before it.',
    'base',
  ],
  ['BROKEN_CHAIN', 'The deltas do not follow each other', 'One may be missing, or their order wrong.', 'lineage'],
  [
    'MISSING_TENSOR',
    'The tensors are not the same',
    'Check that both are of the same model, and no shard is missing.',
    'base',
  ],
  [
    'SHAPE_MISMATCH',
    'A tensor has another shape',
    'Check that the fine-tune started from this base.',
    'base',
  ],
  [
    'UNSUPPORTED_DTYPE',
    'A dtype that cannot be handled',
    'Convert the model to float32, float16 or bfloat16 first.',
    'choose',
  ],
  ['NON_FINITE', 'NaN or infinity in a tensor', 'Check the checkpoint, or take an earlier one.', 'choose'],
  ['LIMIT', 'Over a safety limit', 'Use the command line on a machine with more room.'],
  ['NO_RANGES', 'The server sends whole files only', 'Download the whole file and open the copy.', 'fetch'],
  ['SOURCE_CHANGED', 'A file changed on disk', 'Choose it again when nothing writes to it any more.', 'choose'],
  ['USAGE', 'Not possible like this', 'Change what the message names and start again.'],
  [
    'IO',
    'Reading or writing failed',
    'Check that the disk has room and the file is still there.',
    'retry',
  ],
  ['ABORTED', 'Cancelled', 'No file was left behind.', 'retry'],
  ['INTERNAL', 'A defect of wdelta', 'Your files are untouched. Report the details.', 'retry'],
]);
/** What is wrong with a file by itself, whatever it is used with. */
const DAMAGE = /CHECKSUM|MALFORMED|TRUNCATED|^IO|CHANGED/;

/** Whether a problem is of a file itself, which the package calls by its path or address. @param {Problem} problem @param {Entry} entry */
export const isDamage = ({ code, source = '' }, entry) => DAMAGE.test(code) && (source === entry.source || source.split('/').pop() === entry.name);

/** One entry per code of the package's table. */
export const MEANINGS = new Map(TABLE.map(([code, title, advice, action]) => [code, { title, advice, action }]));

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
        message: 'The browser has no room left for this site: delete private copies.',
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
