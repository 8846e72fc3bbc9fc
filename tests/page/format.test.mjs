// Numbers as the page shows them, in plain Node: these functions need no document.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gridOf } from '../../www/js/model/grid.js';
import { MEASURES, scaled, scaleOf } from '../../www/js/model/measures.js';
import { modelRows } from '../../www/js/model/rows.js';
import { about, bytes, count, duration, fileName, operation, percent, sentence } from '../../www/js/format.js';

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

/** Of a comparison of models with these tensors: the heads of its columns, and the names of its lines and bands. */
function map(...names) {
  const { columns, lines, top, bottom } = gridOf(modelRows(names.map((name) => ({ name, elements: 1 }))));
  const labels = (/** @type {{ label: string }[]} */ some) => some.map(({ label }) => label);
  return { columns: labels(columns), lines: labels(lines), bands: labels([...top, ...bottom]) };
}

test('columns of the map are called what tells them apart, and no less', () => {
  const names = ['attn.c_attn.weight', 'attn.c_proj.weight', 'mlp.c_fc.weight', 'mlp.c_proj.weight', 'mlp.c_proj.bias'];
  assert.deepEqual(
    new Set(map(...names.map((name) => `h.0.${name}`)).columns),
    new Set(['c_attn', 'attn.c_proj', 'c_fc', 'mlp.c_proj', 'c_proj bias']),
  );
  assert.deepEqual(map('layers.0.self_attn.q_proj.weight', 'layers.0.self_attn.out_proj.weight').columns, ['q', 'out_proj']);
});

test('numbers of a stem are no layers', () => {
  const { lines, bands } = map('stem.0.weight', 'stem.6.weight', 'blocks.layers.0.norm.weight', 'blocks.layers.1.norm.weight');
  assert.deepEqual([lines, bands], [['1', '0'], ['stem.0', 'stem.6']]);
});

test('layers of several stacks, and blocks of stages, are told apart', () => {
  const lines = (...names) => map(...names).lines;
  assert.deepEqual(lines('layer1.0.conv1.weight', 'layer1.1.conv1.weight', 'layer2.0.conv1.weight', 'layer2.10.conv1.weight'), ['2.10', '2.0', '1.1', '1.0']);
  assert.deepEqual(lines('layers.0.blocks.0.norm1.weight', 'layers.0.downsample.norm.weight', 'layers.1.blocks.0.norm1.weight'), ['1.0', '0.0', '0']);
  const t5 = ['encoder.block.0.layer.0.SelfAttention.q.weight', 'decoder.block.0.layer.1.EncDecAttention.q.weight', 'decoder.block.10.layer.1.EncDecAttention.q.weight'];
  assert.deepEqual(map(...t5).lines, ['decoder 10', 'decoder 0', 'encoder 0']);
  assert.deepEqual(new Set(map(...t5).columns), new Set(['SelfAttention.q', 'EncDecAttention.q']));
  const unet = ['down_blocks.0.resnets.1.conv1.weight', 'down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight', 'mid_block.resnets.0.conv1.weight', 'up_blocks.3.resnets.2.conv1.weight'];
  assert.deepEqual(lines(...unet), ['up 3.2', 'mid 0', 'down 0.1']);
  assert.deepEqual(lines('text_model.encoder.layers.0.mlp.fc1.weight', 'vision_model.encoder.layers.0.mlp.fc1.weight'), ['vision 0', 'text 0']);
  assert.deepEqual(lines('encoder.layers.encoder_layer_0.ln_1.weight', 'encoder.layers.encoder_layer_1.ln_1.weight'), ['1', '0']);
  assert.deepEqual(lines('transformer_blocks.0.norm.weight', 'single_transformer_blocks.0.norm.weight'), ['transformer 0', 'single_transformer 0']);
  assert.deepEqual(lines('blk.0.attn_q.weight', 'features.denseblock1.denselayer2.conv1.weight').length, 2);
});

test('what counts batches leaves the scale to the weights', () => {
  const [, , rms] = MEASURES;
  const cell = (elements, norm) => ({ rows: [{ elements, stats: { norm } }] });
  const scale = (...cells) => scaleOf(scaled(cells, rms), false);
  const { max, at } = scale(cell(4, 2), cell(4, 4), cell(1, 500));
  assert.deepEqual([max, at(1), at(500)], [2, 0.5, 1]);
  assert.equal(scale(cell(1, 500)).max, 500);
});

test('biases are called alike', () => {
  const names = ['attn.c_attn.bias', 'attn.c_proj.bias', 'mlp.c_proj.bias'];
  assert.deepEqual(new Set(map(...names.map((name) => `h.0.${name}`)).columns), new Set(['c_attn bias', 'attn.c_proj bias', 'mlp.c_proj bias']));
});

test('a long file name keeps what it ends with', () => {
  const name = fileName(`${'a long name '.repeat(20)}.wdelta`);
  assert.ok(name.length <= 120 && name.endsWith('.wdelta'), name);
});
