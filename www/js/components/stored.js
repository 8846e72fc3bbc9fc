// @ts-check
// What a tensor of version 1 holds, as a chart told from its records: the levels and outliers of int4, the values that
// sparse keeps, the row scales of quantized. Of a large record parts are read, from all over it.

import { fill, h } from '../dom.js';
import { exact, number, percent, plural } from '../format.js';
import { countChart, rowChart } from './chart.js';
import { peek, valuesOf } from './file.js';

/** @import { RecordPlace, Row, Source } from '../types.js' */

/** Most bytes of a record that are read, and bytes read at once. */
const MOST = 1 << 22;
const PART = 1 << 18;
/** Bars of a histogram, and of rows. */
const BINS = 64;
const ROWS = 256;
/** Outliers that are drawn. */
const TICKS = 200;

/** The record that tells most. @type {Record<string, string>} */
const TELLING = { int4: 'packed', sparse: 'values', quantized: 'scales' };

/** @typedef {{ values: number[], outliers: number[], scale: number, zero: number, share: number }} Seen `values` are counts of codes with int4 */
/** What has been read to the end. @type {WeakMap<Row, Seen>} */
const known = new WeakMap();

/** @param {Row} row */
const placeOf = ({ records, strategy }) => records.find(({ field }) => field === TELLING[strategy]);

/** Whether a tensor's records tell what it holds. @param {Row} row */
export const isTelling = (row) => Boolean(placeOf(row)?.length);

/**
 * @param {Source} source @param {Row} row one that is telling @param {boolean} log @param {(log: boolean) => void} onLog
 * @returns {HTMLElement} that fills while it is read
 */
export function storedChart(source, row, log, onLog) {
  const root = h('div', { class: 'chart' });
  const place = /** @type {RecordPlace} */ (placeOf(row));
  const show = (/** @type {Seen} */ seen) => fill(root, draw(row, seen, log, onLog));
  const read = async () => {
    const of = async (/** @type {string} */ field) => {
      const record = row.records.find((other) => other.field === field);
      return record ? valuesOf(await peek(source, record.offset, Math.min(record.length, PART)), record.dtype) : [];
    };
    const int4 = row.strategy === 'int4';
    const [[scale = 0], [zero = 0], outliers] = await Promise.all(['scale', 'zero_point', 'outlier_vals'].map(of));
    let codes = row.elements - (row.records.find(({ field }) => field === 'outlier_vals')?.elements ?? 0);
    /** @type {Seen} */
    const seen = { values: int4 ? Array(16).fill(0) : [], outliers, scale, zero, share: 0 };
    const parts = Math.ceil(Math.min(place.length, MOST) / PART);
    /** At even distances, to whole values. @param {number} i */
    const start = (i) => (i === parts ? place.length : Math.floor(((place.length / parts) * i) / 4) * 4);
    for (let i = 0; i < parts; i++) {
      const found = await peek(source, place.offset + start(i), Math.min(PART, start(i + 1) - start(i)));
      if (i && !root.isConnected) return;
      if (int4)
        for (const byte of found) {
          seen.values[byte >> 4]++;
          // The last byte may have room for one more code than there is.
          if (--codes) seen.values[byte & 15]++;
          codes--;
        }
      else for (const value of valuesOf(found, place.dtype)) seen.values.push(value);
      seen.share += found.length / place.length;
      show(seen);
    }
    known.set(row, seen);
  };
  const seen = known.get(row);
  if (seen) show(seen);
  else
    read().catch((error) =>
      root.replaceChildren(h('p', { class: 'muted' }, `The bytes cannot be read: ${error.message}`)),
    );
  return root;
}

/** @param {Row} row @param {Seen} seen @param {boolean} log @param {(log: boolean) => void} onLog */
function draw({ strategy, elements, stats }, { values, outliers, scale, zero, share }, log, onLog) {
  const part = share < 0.9995 ? `, sample of ${percent(share)}` : '';
  if (strategy === 'quantized') {
    const per = Math.ceil(values.length / ROWS);
    const rms = Array.from({ length: Math.ceil(values.length / per) }, (_, i) => {
      const some = values.slice(i * per, (i + 1) * per);
      return Math.sqrt(some.reduce((sum, value) => sum + value * value, 0) / some.length);
    });
    return [rowChart({ rms, per }, values.length, 'Scale by row', 'Scale')];
  }
  const ends = strategy === 'int4' ? [zero, zero + 15 * scale, ...outliers] : values;
  const far = ends.reduce(
    (most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most),
    Math.max(Math.abs(stats?.min ?? 0), Math.abs(stats?.max ?? 0)),
  );
  const at = (/** @type {number} */ value) => (far ? (value + far) / (2 * far) : 0.5);
  const shared = { log, onLog, zero: 0.5, ends: /** @type {[string, string]} */ ([number(-far), number(far)]) };
  if (strategy === 'int4') {
    const sorted = outliers.filter(Number.isFinite).sort((a, b) => a - b);
    const nth = Math.ceil(sorted.length / TICKS);
    return countChart({
      ...shared,
      title: 'Levels and outliers',
      summary: `16 levels ${number(scale)} apart; ticks are outliers${part}`,
      head: ['Level', 'Values'],
      bars: values.map((value, q) => ({ value, label: number(zero + q * scale), text: exact(value) })),
      span: [at(zero - scale / 2), at(zero + 15.5 * scale)],
      ticks: sorted.filter((_, i) => i % nth === 0 || i + 1 === sorted.length).map(at),
    });
  }
  const least = values.reduce((low, value) => Math.min(low, Math.abs(value)), far);
  /** @type {number[]} */
  const counts = Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor(at(value) * BINS))]++;
  const edge = (/** @type {number} */ i) => number(((2 * i) / BINS - 1) * far);
  return countChart({
    ...shared,
    title: 'Kept values',
    summary: `${plural(Math.round(values.length / share), 'value')} of ${exact(elements)}, cut off at ±${number(least)}${part}`,
    head: ['Range', 'Values'],
    bars: counts.map((value, i) => ({ value, label: `${edge(i)} … ${edge(i + 1)}`, text: exact(value) })),
    cuts: [at(-least), at(least)],
  });
}
