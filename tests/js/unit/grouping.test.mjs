// Layers, experts and roles from names.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupsOf, placeOf } from '../../../src/js/grouping.js';

const group = (...names) => groupsOf(names.map(placeOf));

/** Each name alone, with its layer, expert and role. */
const MODELS = {
  'Llama and Qwen': [
    ['model.embed_tokens.weight', null, null, 'embed_tokens'],
    ['model.layers.12.self_attn.q_proj.weight', '12', null, 'self_attn.q_proj'],
    ['model.layers.0.self_attn.q_proj.bias', '0', null, 'self_attn.q_proj.bias'],
    ['model.layers.3.input_layernorm.weight', '3', null, 'input_layernorm'],
    ['model.norm.weight', null, null, 'norm'],
    ['lm_head.weight', null, null, 'lm_head'],
  ],
  'GPT-2, with and without its wrapper': [
    ['transformer.wte.weight', null, null, 'wte'],
    ['transformer.h.7.attn.c_attn.weight', '7', null, 'attn.c_attn'],
    ['h.7.mlp.c_proj.bias', '7', null, 'mlp.c_proj.bias'],
    ['ln_f.weight', null, null, 'ln_f'],
  ],
  BERT: [
    ['bert.embeddings.word_embeddings.weight', null, null, 'embeddings.word_embeddings'],
    ['bert.encoder.layer.3.attention.self.query.weight', '3', null, 'attention.self.query'],
    ['encoder.layer.11.output.LayerNorm.bias', '11', null, 'output.LayerNorm.bias'],
    ['bert.pooler.dense.weight', null, null, 'pooler.dense'],
  ],
  'mixtures of experts': [
    ['model.layers.4.block_sparse_moe.experts.6.w1.weight', '4', 6, 'block_sparse_moe.experts.w1'],
    ['model.layers.4.block_sparse_moe.gate.weight', '4', null, 'block_sparse_moe.gate'],
    ['model.layers.9.mlp.experts.127.up_proj.weight', '9', 127, 'mlp.experts.up_proj'],
    ['model.layers.9.mlp.shared_experts.up_proj.weight', '9', null, 'mlp.shared_experts.up_proj'],
    ['experts.3.w2.weight', null, 3, 'experts.w2'],
  ],
  'stages of blocks': [
    ['layer2.0.conv1.weight', '2.0', null, 'conv1'],
    ['stages.1.blocks.2.dwconv.weight', '1.2', null, 'dwconv'],
    ['layers.0.downsample.norm.weight', '0', null, 'downsample.norm'],
    ['features.denseblock1.denselayer2.conv1.weight', '1.2', null, 'conv1'],
    ['encoder.layers.encoder_layer_4.ln_1.weight', '4', null, 'ln_1'],
    ['encoder.block.2.layer.1.DenseReluDense.wi.weight', '2', null, 'layer.1.DenseReluDense.wi'],
  ],
  'numbers of other things': [
    ['stem.3.weight', null, null, 'stem.3'],
    ['net.2.weight', null, null, 'net.2'],
    ['features.28.bias', '28', null, 'bias'],
    ['blk.0.attn_q.weight', '0', null, 'attn_q'],
    ['visual.transformer.resblocks.7.ln_1.bias', '7', null, 'ln_1.bias'],
  ],
  'no convention': [
    ['', null, null, ''],
    ['weight', null, null, 'weight'],
    ['model', null, null, 'model'],
    ['layers.0', '0', null, 'weight'],
    ['0.weight', null, null, '0'],
    ['layers.99999999999.b', '99999999999', null, 'b'],
    ['a.+1.b', null, null, 'a.+1.b'],
    ['__proto__.layers.1.constructor', '1', null, 'constructor'],
  ],
};

for (const [model, names] of Object.entries(MODELS))
  test(`names of ${model}`, () => {
    for (const [name, layer, expert, role] of names) assert.deepEqual(group(name), [{ layer, expert, role }], name);
  });

test('stacks of layers are told apart by the words that do so', () => {
  const layers = (...names) => group(...names).map(({ layer }) => layer);
  assert.deepEqual(layers('encoder.block.2.layer.1.q.weight', 'decoder.block.2.layer.1.q.weight', 'shared.weight'), ['encoder 2', 'decoder 2', null]);
  assert.deepEqual(layers('text_model.encoder.layers.0.mlp.fc1.weight', 'vision_model.encoder.layers.0.mlp.fc1.weight'), ['text 0', 'vision 0']);
  const unet = ['down_blocks.0.resnets.1.conv1.weight', 'down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight', 'mid_block.resnets.0.conv1.weight', 'up_blocks.3.resnets.2.conv1.weight'];
  assert.deepEqual(layers(...unet), ['down 0.1', 'down 0.1', 'mid 0', 'up 3.2']);
  assert.deepEqual(layers('transformer_blocks.0.norm.weight', 'single_transformer_blocks.0.norm.weight'), ['transformer 0', 'single_transformer 0']);
  assert.deepEqual(layers('path.layers.0.w', 'tower.path.layers.0.w', 'graph.layers.0.w'), ['path 0', 'path 0', 'graph 0']);
});

test('all words tell stacks apart where the first is not enough', () => {
  const layers = group('a.x.layers.0.w', 'a.y.layers.0.w', 'b.y.layers.0.w').map(({ layer }) => layer);
  assert.deepEqual(layers, ['a x 0', 'a y 0', 'b 0']);
});

test('names of very many parts and models of very many stacks take no longer than their length', () => {
  const names = Array.from({ length: 20_000 }, (_, i) => `s${i}x.t.layers.1.w`);
  const found = group(...names, `${'a.'.repeat(100_000)}layers.1.w`);
  assert.equal(found[7].layer, 's7x 1');
});
