// @ts-check
// What the command writes: results to stdout, errors to stderr, each after the progress line is taken away.
import { toError } from '../errors.js';
import { asFlags } from './arguments.js';
import { printable } from './units.js';

/** @typedef {ReturnType<typeof openOutput>} Output */

/**
 * @param {boolean} quiet print nothing but JSON
 * @param {() => void} clear takes the progress line away
 */
export const openOutput = (quiet, clear) => ({
  /** Columns of the terminal; what is not a terminal gets everything. */
  width: process.stdout.columns || Number(process.env.COLUMNS) || Infinity,

  /** @param {string[]} lines */
  print(lines) {
    if (quiet || !lines.length) return;
    clear();
    process.stdout.write(`${lines.join('\n')}\n`);
  },

  /** @param {unknown} error */
  fail(error) {
    clear();
    return fail(error);
  },

  /** @param {unknown} report */
  printJson(report) {
    clear();
    process.stdout.write(`${JSON.stringify(report)}\n`);
  },
});

/** Where it is not 1. @type {Record<string, number>} */
const EXIT_CODES = { USAGE: 2, ABORTED: 130 };

/**
 * Says what went wrong.
 * @param {unknown} thrown
 * @returns {number} exit code
 */
export function fail(thrown) {
  const { code, message, tensor, source, offset, cause } = toError(thrown);
  const text = code === 'ABORTED' ? 'interrupted; nothing is left behind' : /USAGE|NO_RANGES/.test(code) ? asFlags(message) : message;
  const where = [
    tensor && !text.includes(tensor) && `tensor ${tensor}`,
    source && !text.includes(source) && `file ${source}`,
    offset !== undefined && !text.includes(String(offset)) && `offset ${offset}`,
  ].filter(Boolean);
  const lines = [`wdelta: ${code}: ${text}${where.length ? ` (${where.join(', ')})` : ''}`];
  // A bug of ours: what a report needs.
  if (code === 'INTERNAL' && cause instanceof Error && cause.stack) lines.push(...cause.stack.split('\n'));
  process.stderr.write(`${lines.map(printable).join('\n')}\n`);
  return EXIT_CODES[code] ?? 1;
}
