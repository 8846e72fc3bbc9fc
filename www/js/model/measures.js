// @ts-check
// What the map, the depth lines and the table can show of a tensor or of several together.

import { bytes, number, percent } from '../format.js';

/** @import { Row } from '../types.js' */

/**
 * `of` gives the value of some tensors together, or `null` where it is not known yet.
 * @typedef {{ id: string, label: string, short?: string, needs: 'header' | 'stats' | 'base' | 'made' | 'pair' | 'diff', signed?: boolean, log?: boolean,
 *   of(rows: Row[]): number | null, text(value: number): string }} Measure
 */

/** Whether the scale is logarithmic: as chosen, else as suits the measure. @param {{ log: boolean | null }} state @param {Measure} measure */
export const isLog = ({ log }, measure) => log ?? measure.log ?? false;

/**
 * A sum, unless joined otherwise; `null` if the value of one is not known.
 * @param {Row[]} rows @param {(row: Row) => number | undefined | null} value
 */
function sum(rows, value, join = (/** @type {number} */ a, /** @type {number} */ b) => a + b) {
  let all = 0;
  for (const row of rows) {
    const part = value(row) ?? null;
    if (part === null) return null;
    all = join(all, part);
  }
  return all;
}

/** @param {Row[]} rows @param {(row: Row) => number | undefined | null} value */
const most = (rows, value) => sum(rows, value, Math.max);

/** @param {number | null} a @param {number | null} b */
const ratio = (a, b) => (a === null || b === null ? null : b ? a / b : 0);
/** @param {number | null} squares */
const root = (squares) => (squares === null ? null : Math.sqrt(squares));
/** @param {Row[]} rows */
const elements = (rows) => sum(rows, (row) => row.elements);

/** @param {(row: Row) => number | undefined} size @returns {Measure[]} */
const sizes = (size) => [
  { id: 'bytes', label: 'Stored bytes', needs: 'header', log: true, of: (rows) => sum(rows, size), text: bytes },
  {
    id: 'bits',
    label: 'Bits per parameter',
    needs: 'header',
    of: (rows) =>
      ratio(
        sum(rows, (row) => (size(row) ?? 0) * 8),
        elements(rows),
      ),
    text: number,
  },
];

/** @type {Measure[]} of one delta */
export const MEASURES = [
  ...sizes((row) => row.bytes),
  {
    id: 'rms',
    label: 'RMS of Δ',
    needs: 'stats',
    of: (rows) =>
      root(
        ratio(
          sum(rows, (row) => row.stats && row.stats.norm ** 2),
          elements(rows),
        ),
      ),
    text: number,
  },
  {
    id: 'relative',
    label: 'Δ relative to base',
    short: 'Δ / base',
    needs: 'base',
    text: percent,
    of: (rows) => {
      // What is new in the fine-tune is relative to nothing, and neither is what was zero.
      const old = rows.filter(({ strategy, stats }) => strategy !== 'stored' || stats?.baseNorm);
      return root(
        ratio(
          sum(old, ({ stats }) => stats && stats.norm ** 2),
          sum(old, ({ stats }) => (stats?.baseNorm === undefined ? null : stats.baseNorm ** 2)) || null,
        ),
      );
    },
  },
  {
    id: 'largest',
    label: 'Largest |Δ|',
    needs: 'stats',
    of: (rows) => most(rows, ({ stats }) => stats && Math.max(Math.abs(stats.min), Math.abs(stats.max))),
    text: number,
  },
  {
    id: 'outliers',
    label: 'Outlier share',
    needs: 'stats',
    of: (rows) =>
      ratio(
        sum(rows, ({ stats }) => stats && stats.outliers.count),
        elements(rows),
      ),
    text: percent,
  },
  {
    id: 'error',
    label: 'Error of the delta',
    short: 'Error of Δ',
    needs: 'made',
    of: (rows) => most(rows, ({ error, loss }) => error?.relativeError ?? loss),
    text: percent,
  },
];

/** @param {Row} row */
const bBytes = (row) => (row.side === 'a' ? 0 : row.b?.bytes);

/** @type {Record<'a' | 'b' | 'difference', Measure[]>} of two deltas */
export const PAIR_MEASURES = {
  a: MEASURES.slice(0, 2),
  b: sizes(bBytes),
  difference: [
    {
      id: 'bytes',
      label: 'Stored bytes, A − B',
      needs: 'pair',
      signed: true,
      log: true,
      text: (value) => (value < 0 ? '−' : value > 0 ? '+' : '') + bytes(Math.abs(value)),
      of: (rows) => sum(rows, (row) => row.bytes - (bBytes(row) ?? 0)),
    },
    {
      id: 'distance',
      label: 'Distance',
      needs: 'diff',
      text: number,
      of: (rows) => root(sum(rows, ({ diff }) => diff && diff.distance ** 2)),
    },
    {
      id: 'apart',
      label: 'Distance relative to A',
      needs: 'diff',
      text: percent,
      of: (rows) => most(rows, ({ diff }) => diff?.relative),
    },
    {
      id: 'cosine',
      label: 'Unlike direction, 1 − cosine',
      needs: 'diff',
      text: number,
      of: (rows) => most(rows, ({ diff }) => diff && (diff.cosine === null ? null : 1 - diff.cosine)),
    },
  ],
};

/** Values of a tensor that tell little of the others. */
const FEW = 32;

/**
 * The values that make a scale. What has few values, as what counts batches or a head's bias, or few far above nine of ten, as a new head does, would leave
 * no room for what differs among the others.
 * @param {{ rows: Row[] }[]} cells @param {Measure} measure @param {boolean} [log] a scale that has room for all
 */
export function scaled(cells, measure, log) {
  const large = cells.filter(({ rows }) => rows.some(({ elements }) => elements > FEW));
  const values = (large.length ? large : cells).map(({ rows }) => measure.of(rows));
  const sizes = values.map((value) => Math.abs(value ?? 0)).filter(Boolean).sort((a, b) => a - b);
  const most = log ? Infinity : 4 * sizes[Math.ceil(sizes.length * 0.9) - 1];
  return values.filter((value) => !(Math.abs(value ?? 0) > most));
}

/**
 * From values to 0…1, where the ramp starts and ends.
 * @param {(number | null)[]} values
 * @param {boolean} log
 * @param {boolean} [signed] zero stays in the middle
 */
export function scaleOf(values, log, signed = false) {
  const seen = values.filter((value) => value !== null).filter(Number.isFinite);
  const max = seen.reduce((a, b) => Math.max(a, signed ? Math.abs(b) : b), 0);
  const positive = seen.map((value) => (signed ? Math.abs(value) : value)).filter((value) => value > 0);
  // Signed scales start a little lower, so that the least difference is seen.
  const min = log ? positive.reduce((a, b) => Math.min(a, b), max) / (signed ? 4 : 1) : 0;
  const width = log ? Math.log(max / min) || 0 : max;
  /** @param {number} value */
  const strength = (value) => {
    if (value <= 0) return 0;
    // All the same: neither low nor high.
    if (!width) return 0.5;
    return Math.min(1, Math.max(0, log ? Math.log(value / min) / width : value / width));
  };
  /** @param {number} share */
  const back = (share) => (log ? min * Math.exp(share * width) : share * width);
  return {
    min: signed ? -max : min,
    max,
    /** @param {number} value */
    at(value) {
      if (!Number.isFinite(value)) return 1;
      if (signed) return 0.5 + (Math.sign(value) * strength(Math.abs(value))) / 2;
      return strength(value);
    },
    /** @param {number} share */
    value: (share) =>
      signed ? Math.sign(share - 0.5) * back(Math.abs(share * 2 - 1)) : share || positive.length === seen.length ? back(share) : 0,
  };
}
