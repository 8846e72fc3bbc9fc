// @ts-check
// From what the package says about a delta to the rows that table, map and details share.

import { groupsOf, placeOf } from '../api.js';
import { inSlices, nextFrame } from '../dom.js';
import { operation } from '../format.js';
import { gridOf } from './grid.js';
import { naturalKey } from './place.js';

/** @import { DiffReport, Entry, Finding, Inspection, Row, State, InspectedTensor } from '../types.js' */

/** @typedef {Omit<Row, 'group'> & { place: import('../api.js').Place }} Part a row that is not placed yet */

/** Bytes a single tensor may have to be measured at once when it is chosen. */
export const MEASURE_AT_ONCE = 16e6;

/** @type {WeakMap<object, Row[]>} of what was read of a delta, or found of two models */
const known = new WeakMap();

/**
 * Makes the rows of a delta, before it is shown.
 * @param {Inspection} info
 */
export async function readRows(info) {
  /** @type {Map<string, Finding[]>} */
  const findings = new Map();
  for (const finding of info.findings) {
    const { tensor } = finding;
    if (tensor !== undefined && !findings.get(tensor)?.push(finding)) findings.set(tensor, [finding]);
  }
  /** @type {Part[]} */
  const parts = [];
  // Reading a header may just have taken its time.
  await nextFrame();
  await inSlices(info.tensors, (tensor) => parts.push(rowOf(tensor, findings.get(tensor.name) ?? [])));
  await keep(info, parts);
}

/**
 * Keeps the rows of something, in order and with their map: of many each takes a part of a frame.
 * @param {object} of @param {Part[]} parts
 */
async function keep(of, parts) {
  const rows = placed(parts);
  known.set(of, rows);
  const steps = [() => rows.sort((a, b) => (a.key < b.key ? -1 : 1)), () => gridOf(rows)];
  await inSlices(steps, (step) => step());
}

/**
 * @param {Entry | undefined} entry
 * @returns {Row[]} one per tensor, by name; the same objects each time
 */
export function rowsOf(entry) {
  const info = entry?.info;
  if (!info) return [];
  const rows = known.get(info) ?? [];
  if (entry.made && !rows[0]?.error) {
    const made = new Map(entry.made.tensors.map((tensor) => [tensor.name, tensor]));
    for (const row of rows) row.error = made.get(row.name);
  }
  return rows;
}

/** @param {InspectedTensor} tensor @param {Finding[]} findings */
function rowOf({ lossless, loss, ...tensor }, findings) {
  const { name, elements, bytes } = tensor;
  // Version 1 has no name for a tensor that is the base's own: it says that all values are dropped.
  const own = elements && !bytes ? { strategy: 'unchanged', options: {} } : { strategy: operation(tensor.strategy) };
  return { ...tensor, ...own, key: naturalKey(name), place: placeOf(name), findings, loss: lossless ? 0 : loss?.relativeError };
}

/**
 * Says of rows where they stand. The rows themselves: there may be many.
 * @param {Part[]} rows
 */
function placed(rows) {
  const groups = groupsOf(rows.map(({ place }) => place));
  return rows.map((row, i) => Object.assign(row, { group: groups[i] }));
}

/**
 * Two deltas joined by tensor name: A's rows with B's beside them, then what only B has.
 * @param {Row[]} a @param {Row[]} b
 * @returns {Row[]}
 */
export function joined(a, b) {
  const others = new Map(b.map((row) => [row.name, row]));
  /** @type {Row[]} */
  const rows = a.map((row) => ({
    ...row,
    b: others.get(row.name),
    side: others.has(row.name) ? undefined : 'a',
  }));
  const names = new Set(a.map(({ name }) => name));
  for (const row of b) if (!names.has(row.name)) rows.push({ ...row, bytes: 0, b: row, side: 'b' });
  return rows;
}

/**
 * Makes rows of what two models have in common, of which only the comparison is known, before they are shown.
 * @param {DiffReport} result in which what is equal gets a distance of 0 %, even of nothing
 */
export async function readDiff({ kind, tensors, totals }) {
  for (const each of [...tensors, totals]) if (each.distance === 0) Object.assign(each, { relative: 0, cosine: each.cosine ?? 1 });
  if (kind === 'deltas') return;
  /** @type {Part[]} */
  const parts = [];
  await inSlices(tensors, (diff) => {
    const { name, elements } = diff;
    parts.push({ name, key: naturalKey(name), place: placeOf(name), shape: [], dtype: '', elements, strategy: '', bytes: 0, records: [], findings: [], diff });
  });
  await keep(tensors, parts);
}

/** The rows of two models. @param {DiffReport | null} diff */
export const modelRows = (diff) => diff && known.get(diff.tensors);

/** @param {State} state */
export const activeEntry = ({ entries, active }) => entries.find(({ id }) => id === active);

/** @param {State} state @param {import('../types.js').EntryRole} role */
export const entryOf = ({ entries }, role) => entries.find((entry) => entry.role === role);

/** @param {Entry} entry */
export const isModel = ({ role }) => role !== 'delta' && role !== 'unknown';

/** Whether only its base tells how far a delta moves values: version 2 counts in steps of the base's. @param {Entry | undefined} entry */
export const leansOnBase = (entry) => entry?.info?.version === 2;

/** @param {Row[]} rows @param {string | null} name */
export const rowNamed = (rows, name) => (name === null ? undefined : rows.find((row) => row.name === name));

/** @param {Row} row @returns {'error' | 'warning' | 'note' | null} */
export function worst({ findings }) {
  return (
    /** @type {const} */ (['error', 'warning', 'note']).find((severity) =>
      findings.some((finding) => finding.severity === severity),
    ) ?? null
  );
}
