// @ts-check
// Numbers and names as people read them.

/**
 * Three digits and a decimal unit.
 * @param {number} n
 * @param {string[]} units each a thousand of the one before
 */
function scaled(n, units) {
  let i = 0;
  for (; n >= 999.5 && i < units.length - 1; i++) n /= 1000;
  const text = i === 0 && Number.isInteger(n) ? String(n) : n.toPrecision(3).replace(/e\+?.*/, '');
  return `${text} ${units[i]}`.trim();
}

/** `988 MB`: decimal, as model hubs count. @param {number} n */
export const formatBytes = (n) => scaled(n, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);

/** `494 M`, `7.00 B`. @param {number} n */
export const formatCount = (n) => scaled(n, ['', 'k', 'M', 'B', 'T']);

/** `3 s`, `2 min`, `1 h 5 min`. @param {number} seconds */
export function formatDuration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Up to three significant digits. @param {number | null | undefined} n */
export const formatNumber = (n) => (typeof n === 'number' ? String(Number(n.toPrecision(3))) : '-');

/**
 * Text from a file, safe to show: control, format and direction characters become escapes.
 * @param {string} text
 */
export const printable = (text) =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${/** @type {number} */ (char.codePointAt(0)).toString(16)}}`);

/** Characters that take two columns: East Asian ones and pictures. */
const WIDE = /[\u1100-\u115f\u231a-\u23ff\u25a0-\u27bf\u2b00-\u2bff\u2e80-\u{10ffff}]/u;

/**
 * Columns that a text takes at most in a terminal.
 * @param {string} text
 */
export const columns = (text) => [...text].reduce((sum, char) => sum + (WIDE.test(char) ? 2 : 1), 0);

/**
 * A text cut in its middle to at most `width` columns: names differ at both ends.
 * @param {string} text
 * @param {number} width
 */
export function shorten(text, width) {
  if (columns(text) <= width) return text;
  const chars = [...text];
  let start = '';
  let end = '';
  for (let i = 0, j = chars.length - 1; ; ) {
    if (columns(`${start}${chars[i]}…${end}`) > width) break;
    start += chars[i++];
    if (columns(`${start}…${chars[j]}${end}`) > width) break;
    end = chars[j--] + end;
  }
  return width > 0 ? `${start}…${end}` : '';
}
