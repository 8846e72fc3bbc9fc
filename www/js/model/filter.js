// @ts-check
// Which rows are shown: by text, by a cell of the map, by a stretch of the legend.

import { cellsOf, gridOf } from './grid.js';
import { isLog, scaled, scaleOf } from './measures.js';

/** @import { Row, State } from '../types.js' */
/** @import { Measure } from './measures.js' */

/** Whether a stretch of the legend leaves something out. @param {State['brush']} brush */
export const brushed = ([low, high]) => low > 0 || high < 1;

/**
 * @param {Row[]} rows
 * @param {Pick<State, 'filter' | 'cell' | 'open' | 'brush' | 'log'>} state
 * @param {Measure} measure
 * @returns {Row[]} `rows` itself where nothing filters
 */
export function visible(rows, state, measure) {
  const { filter, cell, open, brush } = state;
  let shown = rows;
  const [low, high] = brush;
  if (cell !== null || brushed(brush)) {
    const cells = cellsOf(gridOf(rows, open));
    const values = cells.map((each) => measure.of(each.rows));
    const log = isLog(state, measure);
    const scale = scaleOf(scaled(cells, measure, log), log, measure.signed);
    const kept = cells.filter(({ key }, i) => {
      const value = values[i];
      if (cell !== null && key !== cell) return false;
      return !brushed(brush) || (value !== null && scale.at(value) >= low && scale.at(value) <= high);
    });
    const members = new Set(kept.flatMap((each) => each.rows));
    shown = shown.filter((row) => members.has(row));
  }
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) {
    shown = shown.filter(({ name, strategy, dtype, findings }) => {
      const text =
        `${name} ${strategy} ${dtype} ${findings.map(({ severity, code }) => `${severity} ${code}`).join(' ')}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }
  return shown;
}
