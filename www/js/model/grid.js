// @ts-check
// Layers by roles: the cells of the map, from the groups that the package reads out of the names.

import { isNumber, layerText, naturalKey } from './place.js';

/** @import { Row } from '../types.js' */

/** Rows and columns of the map. More layers are drawn in bands of neighbours, more roles as "other". */
const MAP_ROWS = 128;
const MAP_COLUMNS = 48;

/** @typedef {{ key: string, label: string, rows: Row[] }} Cell */
/** @typedef {{ columns: { key: string, label: string }[], lines: { label: string, cells: (Cell | null)[] }[], top: Cell[], bottom: Cell[] }} Grid */

/** How blocks are usually read: attention, then the feed-forward part, then norms. */
const ORDER = [
  /conv/,
  /\bq(_proj)?\b|query/,
  /\bk(_proj)?\b|key/,
  /\bv(_proj)?\b|value/,
  /qkv|c_attn/,
  /\bo(_proj)?\b|out_proj|attention.*dense/,
  /attn|attention/,
  /router|mlp\.gate\.|gate\.weight/,
  /gate|w1/,
  /up|w3|fc1|intermediate/,
  /down(?!s)|w2|fc2|mlp|dense/,
  /norm|ln/i,
];

/** @param {string} role */
const rank = (role) => {
  const norm = /norm|\b[bl]n_?\d?\b/i.test(role);
  const found = norm ? ORDER.length - 1 : ORDER.findIndex((pattern) => pattern.test(role));
  return (found < 0 ? ORDER.length : found) + (role.endsWith('bias') ? 0.5 : 0);
};

/** Roles by their last part, and by what tells them apart from others that end alike. @param {string[]} roles @returns {Map<string, string>} */
function shortLabels(roles) {
  const all = roles.map((role) =>
    role
      .replace(/\b([qkvo]|gate|up|down)_proj\b/g, '$1')
      .replace(/_?layer_?norm\b/gi, '_norm')
      .replace(/\b_/g, '')
      .split('.'),
  );
  // Numbers and `bias` tell nothing without what they are of.
  const last = (/** @type {string[]} */ list) => list.slice(list.findLastIndex((part) => part !== 'bias' && !isNumber(part))).join('.');
  const apart = all.map((list) => {
    const others = all.filter((other) => last(other) === last(list));
    const own = list.filter((part) => !others.every((other) => other.includes(part)));
    return [[], own.filter((part) => !isNumber(part)), own, list].map((parts) => (parts === list ? list.join('.') : [...parts, last(list)].join('.')));
  });
  return new Map(
    roles.map((role, i) => {
      const label = apart[i].find((text, at) => apart.filter((other) => other[at] === text).length < 2) ?? role;
      return [role, label.replace(/\.bias$/, ' bias')];
    }),
  );
}

/** @type {WeakMap<Row[], Map<string | null, Grid>>} */
const built = new WeakMap();

/**
 * @param {Row[]} rows
 * @param {string | null} [open] the layer whose experts are shown, instead of all layers
 * @returns {Grid} the same one each time
 */
export function gridOf(rows, open = null) {
  const grids = built.get(rows) ?? new Map();
  const grid = grids.get(open) ?? build(rows, open);
  built.set(rows, grids.set(open, grid));
  return grid;
}

/** @param {Row[]} rows @param {string | null} open @returns {Grid} */
function build(rows, open) {
  const inner = rows.filter(({ group }) =>
    open === null ? group.layer !== null : group.layer === open && group.expert !== null,
  );
  const outer = open === null ? rows.filter(({ group }) => group.layer === null) : [];
  const roles = [...new Set(inner.map(({ group }) => group.role))].sort(
    (a, b) => rank(a) - rank(b) || (a < b ? -1 : 1),
  );
  const shown = roles.length > MAP_COLUMNS ? roles.slice(0, MAP_COLUMNS - 1) : roles;
  const labels = shortLabels(shown);
  const columns = shown.map((role) => ({ key: role, label: labels.get(role) ?? role }));
  if (shown.length < roles.length) columns.push({ key: '', label: 'other' });
  const columnOf = new Map(roles.map((role, i) => [role, Math.min(i, columns.length - 1)]));

  const numberOf = (/** @type {Row} */ { group }) => String(open === null ? group.layer : group.expert);
  // The first layers stand at the bottom, and a decoder above its encoder.
  const height = (/** @type {string} */ layer) => naturalKey(layer.replace(/^decoder/, '~'));
  const numbers = [...new Set(inner.map(numberOf))].sort((a, b) => (height(a) < height(b) ? 1 : -1));
  const per = Math.ceil(numbers.length / MAP_ROWS);
  const lineOf = new Map(numbers.map((n, i) => [n, Math.floor(i / per)]));
  const called = (/** @type {string} */ label) => (open === null ? layerText(label) : `expert ${label}`);
  const lines = Array.from({ length: Math.ceil(numbers.length / per) || 0 }, (_, i) => {
    const part = numbers.slice(i * per, (i + 1) * per);
    const label = part.length > 1 ? `${part[part.length - 1]}–${part[0]}` : part[0];
    return {
      label,
      cells: columns.map(
        (column) =>
          /** @type {Cell} */ ({
            key: `${open ?? ''}/${label}/${column.key}`,
            label: `${called(label)}, ${column.label}`,
            rows: [],
          }),
      ),
    };
  });
  for (const row of inner)
    lines[lineOf.get(numberOf(row)) ?? 0].cells[columnOf.get(row.group.role) ?? 0].rows.push(row);

  const bands = outer.map((row) => ({ key: `band/${row.name}`, label: row.group.role || row.name, rows: [row] }));
  const bottom = bands.filter(({ label }) => /embed|wte|wpe|shared|stem/i.test(label));
  return {
    columns,
    lines: lines.map((line) => ({ ...line, cells: line.cells.map((cell) => (cell.rows.length ? cell : null)) })),
    top: folded(
      bands.filter((band) => !bottom.includes(band)),
      'top',
    ),
    bottom: folded(bottom, 'bottom'),
  };
}

/** Names without layers may be many: neighbours share a cell. @param {Cell[]} cells @param {string} where */
function folded(cells, where) {
  const most = MAP_ROWS * 3;
  if (cells.length <= most) return cells;
  const per = Math.ceil(cells.length / most);
  return Array.from({ length: Math.ceil(cells.length / per) }, (_, i) => {
    const part = cells.slice(i * per, (i + 1) * per);
    return {
      key: `${where}/${i}`,
      label: `${part[0].label} and ${part.length - 1} more`,
      rows: part.flatMap(({ rows }) => rows),
    };
  });
}

/** @param {Grid} grid @returns {Cell[]} every cell once */
export const cellsOf = ({ lines, top, bottom }) => [
  ...top,
  ...lines.flatMap(({ cells }) => cells.filter((cell) => cell !== null)),
  ...bottom,
];

/**
 * A squarified treemap (Bruls, Huizing and van Wijk, 2000).
 * @template T
 * @param {{ item: T, size: number }[]} items by falling size, sizes above 0
 * @param {number} width @param {number} height
 * @returns {{ item: T, x: number, y: number, w: number, h: number }[]}
 */
export function squarify(items, width, height) {
  const total = items.reduce((sum, { size }) => sum + size, 0);
  const area = (width * height) / total;
  /** @type {{ item: T, x: number, y: number, w: number, h: number }[]} */
  const placed = [];
  let [x, y, w, h] = [0, 0, width, height];
  for (let from = 0; from < items.length;) {
    const side = Math.min(w, h);
    let to = from;
    let sum = 0;
    let worst = Infinity;
    while (to < items.length) {
      const next = sum + items[to].size * area;
      const long = (side * side * items[from].size * area) / (next * next);
      const ratio = Math.max(long, (next * next) / (side * side * items[to].size * area));
      if (ratio > worst) break;
      worst = ratio;
      sum = next;
      to++;
    }
    const thick = sum / side;
    let at = 0;
    for (const { item, size } of items.slice(from, to)) {
      const long = (size * area) / thick;
      placed.push(w >= h ? { item, x, y: y + at, w: thick, h: long } : { item, x: x + at, y, w: long, h: thick });
      at += long;
    }
    if (w >= h) [x, w] = [x + thick, w - thick];
    else [y, h] = [y + thick, h - thick];
    from = to;
  }
  return placed;
}
