// @ts-check
// Numbers, hashes and names as text.

import { h } from './dom.js';

/** Characters of a name before it is cut in the middle. */
const NAME_LENGTH = 72;

const exactNumber = new Intl.NumberFormat('en');
/** With zeros at the end, so that digits of a column stand below each other; 0 is 0. */
const digits = new Intl.NumberFormat('en', { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const three = { format: (/** @type {number} */ n) => (n ? digits.format(n) : '0') };

/** @param {number} n @param {string[]} units each a thousand of the one before @param {string} gap */
function scaled(n, units, gap) {
  let unit = 0;
  // 999.5 would be shown as 1,000.
  while (Math.abs(n) >= 999.5 && unit + 1 < units.length) {
    n /= 1000;
    unit++;
  }
  return `${unit ? three.format(n) : exactNumber.format(n)}${units[unit] ? gap + units[unit] : ''}`;
}

/** @param {number} n bytes, as `294 MB` */
export const bytes = (n) => scaled(n, ['B', 'kB', 'MB', 'GB', 'TB', 'PB'], '\u00a0');

/** @param {number} n a count, as `494 M` */
export const count = (n) => scaled(n, ['', 'k', 'M', 'B', 'T'], '\u00a0');

/** @param {number} n all digits, in groups */
export const exact = (n) => exactNumber.format(n);

/** How a tensor is stored, in a word that Make has too. @param {string} name */
export const operation = (name) => name.replace('dithered', 'lossy');

/** An option of a strategy. @param {string} key @param {string} value */
export const optionText = (key, value) => `${key === 'outlierFraction' ? 'outliers' : key} ${value}`;

/** A message of the package as a sentence. @param {string} text */
export const sentence = (text) =>
  text.replace(/^[a-z](?=[a-z]* )/, (letter) => letter.toUpperCase()) + (/[.!?:)]$/.test(text) ? '' : '.');

/** @param {number | null | undefined} n three significant digits */
export function number(n) {
  if (n === null || n === undefined) return '–';
  if (!Number.isFinite(n)) return Number.isNaN(n) ? 'NaN' : n > 0 ? '∞' : '−∞';
  const size = Math.abs(n);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return n.toExponential(2).replace('e+', 'e').replaceAll('-', '−');
  return three.format(n).replace('-', '−');
}

/** A cosine, which next to 1 is told by what it lacks. @param {number | null} n */
export const cosine = (n) => (n && n > 0.999 && n < 1 - 1e-15 ? `1 − ${number(1 - n)}` : number(n));

/** @param {number | null} share 1 = 100 % */
export const percent = (share) => (share === null ? '–' : `${(share < 1e4 ? three.format : number)(share * 100)}\u00a0%`);

/** @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${exact(n)}\u00a0${n === 1 ? one : many}`;

/** @param {number[]} dims */
export const shape = (dims) => (dims.length ? dims.join('\u00a0×\u00a0') : 'scalar');

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return 'under 1\u00a0s';
  // Rounded before it is split, or there would be minutes of 60 seconds.
  const whole = Math.round(seconds);
  const minutes = Math.round(whole / 60);
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}\u00a0min ${String(whole % 60).padStart(2, '0')}\u00a0s`;
  return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

/** @param {number} seconds an estimate: rounded, never more exact than it is */
export function about(seconds) {
  if (seconds < 10) return `≈\u00a0${Math.max(1, Math.round(seconds))}\u00a0s`;
  if (seconds < 90) return `≈\u00a0${Math.round(seconds / 5) * 5}\u00a0s`;
  return `≈\u00a0${Math.round(seconds / 60)}\u00a0min`;
}

/** @param {string} hash */
export const shortHash = (hash) => hash.slice(0, 12);

// Control and format characters, line and paragraph separators, surrogates without a partner, private use.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/u;

/** @param {string} char */
const coded = (char) => `[U+${char.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}]`;

/**
 * Text of a file, with characters that are not seen or turn the text around made visible.
 * @param {string} text
 */
export const plain = (text) => Array.from(text, (char) => (HIDDEN.test(char) ? coded(char) : char)).join('');

/** A name that is seen even if it is empty or blank. @param {string} text */
export const seen = (text) => (text.trim() ? plain(text) : Array.from(text, coded).join('')) || '(no name)';

/** @param {string} text @param {number} [length] */
export function middle(text, length = NAME_LENGTH) {
  const chars = Array.from(text);
  if (chars.length <= length) return text;
  const tail = Math.ceil(length * 0.6);
  return `${chars.slice(0, length - tail - 1).join('')}…${chars.slice(-tail).join('')}`;
}

/**
 * A name from a file: isolated, so that its direction cannot touch what stands beside it.
 * @param {string} text
 * @param {number} [length] longer ones are cut in the middle
 */
export function name(text, length = NAME_LENGTH) {
  const full = seen(text);
  const cut = middle(full, length);
  return h('bdi', { class: 'name', title: cut === full ? null : full }, cut);
}

/** A long name, that may be broken behind its dots and underlines. @param {string} text */
export function breakable(text) {
  const full = seen(text);
  const cut = middle(full, 3 * NAME_LENGTH);
  return h(
    'bdi',
    { class: 'name wrap', title: cut === full ? null : full },
    cut.split(/(?<=[._/])/).flatMap((part, i) => (i ? [h('wbr', null), part] : [part])),
  );
}

/** A message of the package, in which names stand in quotes or between backquotes. @param {string} text */
export const prose = (text) =>
  h(
    'bdi',
    null,
    plain(sentence(text))
      .split(/`|(?<!\\)"/)
      // Digits of counts stand in groups, those in names and shapes do not.
      .map((part, i) => (i % 2 ? h('code', null, part) : part.replace(/(?<= )[1-9]\d{3,}(?=[ ,;)]|\.?$)/g, (n) => exact(+n)))),
  );

/** @param {string} text a file name for a download, without what a system may refuse or take amiss */
export function fileName(text) {
  const safe = Array.from(text.normalize('NFC'), (char) =>
    HIDDEN.test(char) || '\\/:*?"<>|'.includes(char) ? '_' : char,
  ).join('');
  return middle(safe.replace(/^[.\s]+|[.\s]+$/g, ''), 120) || 'file';
}

/**
 * A cell of a CSV file: quoted where needed, and never a formula.
 * @param {unknown} value
 */
export function csvCell(value) {
  const text = String(value ?? '');
  const guarded = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}
