// Numbers as the page shows them, in plain Node: these functions need no document.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gridOf } from '../../www/js/model/grid.js';
import { MEASURES, scaled, scaleOf } from '../../www/js/model/measures.js';
import { about, bytes, cosine, count, duration, fileName, operation, percent, sentence } from '../../www/js/format.js';

/** Each input with the text it gives, blanks that do not break as blanks. */
const TABLES = [
  [
    duration,
    [
      [0, 'under 1 s'],
      [0.99, 'under 1 s'],
      [1, '1 s'],
      [59.4, '59 s'],
      [59.7, '1 min 00 s'],
      [60, '1 min 00 s'],
      [65, '1 min 05 s'],
      [119.7, '2 min 00 s'],
      [3599.4, '59 min 59 s'],
      [3599.7, '1 h 0 min'],
      [3629, '1 h 0 min'],
      [3630, '1 h 1 min'],
      [7199, '2 h 0 min'],
      [90_000, '25 h 0 min'],
    ],
  ],
  [
    sentence,
    [
      ['1 tensor of the base is not in the fine-tune, nor in the result', '1 tensor of the base is not in the fine-tune, nor in the result.'],
      ['0 of 42 tensors have a match in the base; is it the right one?', '0 of 42 tensors have a match in the base; is it the right one?'],
    ],
  ],
  [
    operation,
    [
      ['dithered', 'lossy'],
      ['delta', 'delta'],
    ],
  ],
  [
    percent,
    [
      [0, '0 %'],
      [0.0217, '2.17 %'],
      [99.9, '9,990 %'],
      [1.01e43, '1.01e45 %'],
    ],
  ],
  [
    about,
    [
      [0, '≈ 1 s'],
      [9.7, '≈ 10 s'],
      [12, '≈ 10 s'],
      [89, '≈ 90 s'],
      [90, '≈ 2 min'],
      [7199, '≈ 120 min'],
    ],
  ],
  [
    bytes,
    [
      [0, '0 B'],
      [999, '999 B'],
      [999.6, '1.00 kB'],
      [294_123_456, '294 MB'],
      [-1500, '-1.50 kB'],
    ],
  ],
  [
    count,
    [
      [64, '64'],
      [32_768, '32.8 k'],
      [999_600, '1.00 M'],
      [7e9, '7.00 B'],
    ],
  ],
];

for (const [format, rows] of TABLES) {
  test(format.name, () => {
    const shown = rows.map(([n]) => [n, format(n).replaceAll('\u00a0', ' ')]);
    assert.deepEqual(shown, rows);
  });
}

/** The heads of the map's columns, and the names of its lines and bands, for tensors of these layers and roles. */
function map(...tensors) {
  const rows = tensors.map(([layer, role], i) => ({ name: `${i}`, group: { layer, expert: null, role } }));
  const { columns, lines, top, bottom } = gridOf(rows);
  const labels = (/** @type {{ label: string }[]} */ some) => some.map(({ label }) => label);
  return { columns: labels(columns), lines: labels(lines), bands: labels([...top, ...bottom]) };
}
const columns = (...roles) => map(...roles.map((role) => ['0', role])).columns;

test('columns of the map are called what tells them apart, and no less', () => {
  assert.deepEqual(new Set(columns('attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj', 'mlp.c_proj.bias')), new Set(['c_attn', 'attn.c_proj', 'c_fc', 'mlp.c_proj', 'c_proj bias']));
  assert.deepEqual(columns('self_attn.q_proj', 'self_attn.out_proj'), ['q', 'out_proj']);
  assert.deepEqual(new Set(columns('layer.0.SelfAttention.q', 'layer.1.EncDecAttention.q')), new Set(['SelfAttention.q', 'EncDecAttention.q']));
});

test('lines of the map: the first layer lowest, numbers as numbers, a decoder above its encoder, bands for what has no layer', () => {
  const lines = (...layers) => map(...layers.map((layer) => [layer, 'w'])).lines;
  assert.deepEqual(lines('1.0', '1.1', '2.0', '2.10'), ['2.10', '2.0', '1.1', '1.0']);
  assert.deepEqual(lines('encoder 0', 'decoder 0', 'decoder 10'), ['decoder 10', 'decoder 0', 'encoder 0']);
  const { lines: some, bands } = map([null, 'stem.0'], ['0', 'norm'], ['1', 'norm']);
  assert.deepEqual([some, bands], [['1', '0'], ['stem.0']]);
});

test('a cosine of equals is not told by what sums lose', () => {
  assert.equal(cosine(1 - 2 ** -53), '1.00');
  assert.equal(cosine(1 - 1e-9), '1 − 1.00e−9');
});

test('what counts batches leaves the scale to the weights', () => {
  const [, , rms] = MEASURES;
  const cell = (elements, norm) => ({ rows: [{ elements, stats: { norm } }] });
  const scale = (...cells) => scaleOf(scaled(cells, rms), false);
  const { max, at } = scale(cell(64, 8), cell(64, 16), cell(1, 500));
  assert.deepEqual([max, at(1), at(500)], [2, 0.5, 1]);
  // Nor do the five values of a head's bias, of which each takes many bits.
  assert.equal(scale(cell(64, 8), cell(64, 16), cell(5, 14)).max, 2);
  assert.equal(scale(cell(1, 500)).max, 500);
});

test('a new head leaves the linear scale to the others', () => {
  const [, , rms] = MEASURES;
  const cells = [...Array.from({ length: 18 }, (_, i) => 1 + i / 10), 90, 100].map((norm) => ({ rows: [{ elements: 1e4, stats: { norm: norm * 100 } }] }));
  const { max, at } = scaleOf(scaled(cells, rms), false);
  assert.deepEqual([max, at(1.35), at(90), at(100)], [2.7, 0.5, 1, 1]);
  assert.equal(scaleOf(scaled(cells, rms, true), true).max, 100);
  // What few tensors have, where the others have nothing, is no exception.
  const head = [...Array(30).fill(0), 90, 100].map((norm) => ({ rows: [{ elements: 1e4, stats: { norm: norm * 100 } }] }));
  assert.equal(scaleOf(scaled(head, rms), false).max, 100);
});

test('biases are called alike', () => {
  assert.deepEqual(new Set(columns('attn.c_attn.bias', 'attn.c_proj.bias', 'mlp.c_proj.bias')), new Set(['c_attn bias', 'attn.c_proj bias', 'mlp.c_proj bias']));
});

test('a long file name keeps what it ends with', () => {
  const name = fileName(`${'a long name '.repeat(20)}.wdelta`);
  assert.ok(name.length <= 120 && name.endsWith('.wdelta'), name);
});
