// @ts-check
// Which deltas there are, in which order they are applied, and what is known about how they follow each other.

import { entryOf } from './rows.js';

/** @import { DeltaSource, Entry, Lineage, State } from '../types.js' */

/** @param {State} state @returns {Entry[]} the deltas to apply, in order */
export const chainOf = ({ chain, entries }) =>
  chain
    .map((id) => entries.find((entry) => entry.id === id))
    .filter((entry) => entry !== undefined)
    .filter(({ info }) => info);

/** The deltas that have been read, in the order of the tray. @param {State} state */
export const readyDeltas = ({ entries }) => entries.filter((entry) => entry.role === 'delta' && entry.info);

/** What the package reads deltas from. @param {Entry[]} deltas */
export const sourcesOf = (deltas) => deltas.map(({ source }) => /** @type {DeltaSource} */ (source));

/** Names a set of files, so that a result is not shown for others. @param {State} state */
export const lineageKey = (state) =>
  [...readyDeltas(state), entryOf(state, 'base')].map((entry) => entry?.id).join(' ');

/** What is known of the files that are open now; their indexes are those of `readyDeltas`. @param {State} state */
export function lineageNow(state) {
  if (state.lineage?.key !== lineageKey(state)) return null;
  const { result } = state.lineage;
  const deltas = readyDeltas(state);
  const base = entryOf(state, 'base');
  const links = result.links.map((link) =>
    // What was checked in another view.
    base && link.state === 'not checked' && state.checks.get(checkKey(deltas[link.index], base)) === 1
      ? /** @type {const} */ ({ ...link, state: 'verified', parent: 'base' })
      : link,
  );
  return { ...result, links };
}

/**
 * The deltas from the first up to one, where the links are known.
 * @param {Lineage} lineage @param {number} index
 * @returns {number[] | null}
 */
export function pathTo({ links }, index) {
  /** @type {number[]} */
  const path = [];
  for (let at = /** @type {number | 'base' | null} */ (index); typeof at === 'number';) {
    const link = links.find((each) => each.index === at);
    if (!link || link.state === 'broken' || path.includes(at)) return null;
    path.unshift(at);
    at = link.parent;
  }
  return path;
}

/** Names what was found of deltas in order, and of the base that they are for. @param {...{ id: string }} entries */
export const checkKey = (...entries) => entries.map(({ id }) => id).join(':');

/** Whether the base and all open deltas are known not to lead to a delta. @param {State} state @param {Entry} entry */
export const isBroken = (state, entry) =>
  lineageNow(state)?.links.some(({ index, state: link }) => link === 'broken' && readyDeltas(state)[index] === entry);

/** A delta with those before it, where that is known. @param {State} state @param {Entry | undefined} entry @returns {Entry[] | null} */
export function knownPath(state, entry) {
  const lineage = lineageNow(state);
  const deltas = readyDeltas(state);
  const path = entry && lineage && pathTo(lineage, deltas.indexOf(entry));
  const sure = path && (path.length > 1 || lineage.links.some(({ index, state: link }) => index === path[0] && link === 'verified'));
  return sure ? path.map((at) => deltas[at]) : null;
}
