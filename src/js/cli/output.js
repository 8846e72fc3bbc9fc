// @ts-check
// What the command writes: results to stdout, errors to stderr, each after the progress line is taken away.
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

  /** @param {unknown} report */
  printJson(report) {
    clear();
    process.stdout.write(`${JSON.stringify(report)}\n`);
  },
});

/** @param {any} error */
export function printError(error) {
  const { code, message, tensor, source, offset } = error;
  const where = [
    tensor && !message.includes(tensor) && `tensor ${tensor}`,
    source && !message.includes(source) && `file ${source}`,
    offset !== undefined && !message.includes(String(offset)) && `offset ${offset}`,
  ].filter(Boolean);
  process.stderr.write(`${printable(`wdelta: ${code}: ${message}${where.length ? ` (${where.join(', ')})` : ''}`)}\n`);
}
