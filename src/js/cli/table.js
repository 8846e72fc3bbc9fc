// @ts-check
// Tables of text that fit a width.
import { columns, printable, shorten } from './units.js';

/** Space that the first column keeps, if it needs as much. */
const KEPT = 30;

/**
 * @typedef {object} Column
 * @property {string} head
 * @property {(row: any) => string} cell
 * @property {boolean} [left] flush left
 */

/**
 * The lines of a table: where it is too wide, the first column is cut in the middle, then columns at the right end go.
 * @param {any[]} rows
 * @param {Column[]} shown
 * @param {number} width
 */
export function table(rows, shown, width) {
  const cells = shown.map(({ head, cell }) => [head, ...rows.map((row) => printable(cell(row)))]);
  const widths = cells.map((column) => Math.max(...column.map(columns)));
  const kept = Math.min(widths[0], KEPT);
  const total = () => widths.reduce((sum, one) => sum + one + 2, -2);
  while (widths.length > 1 && total() - widths[0] + kept > width) widths.pop();
  widths[0] = Math.min(widths[0], widths[0] + width - total());
  return cells[0].map((_, row) =>
    widths
      .map((room, i) => {
        const text = shorten(cells[i][row], room);
        const space = ' '.repeat(room - columns(text));
        return i === 0 || shown[i].left ? text + space : space + text;
      })
      .join('  ')
      .trimEnd(),
  );
}
