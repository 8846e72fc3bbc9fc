#!/usr/bin/env node
// What a lossy delta does to a model's predictions: mean KL divergence of the rebuilt model's next-token distribution
// from the fine-tune's, over a text that its training did not see, beside the bits that it takes.
//
//   node pkg-scripts/build.mjs && node benches/kl.mjs [--tokens N] [--low-rank off] [QUALITY…]
//
// Model and text: tests/data/stories260k-full. Bits are of the payload over the number of weights: blocks, tables and
// scales, and for `quantized` of version 1 its arrays; headers and index apart, for the model is tiny.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { decode, encode, inspect, tensors } from '../pkg/node.js';
import { Llama, collect, softmax } from '../www/js/sample/llama.js';
import { Tokenizer } from '../www/js/sample/tokenizer.js';

const QUALITIES = [10, 20, 30, 35, 40, 45, 50, 60, 70, 80];
/** Tokens that the model sees at once; the first is the begin-of-text token. */
const WINDOW = 256;
const BOS = 1;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { tokens: { type: 'string', default: '8160' }, 'low-rank': { type: 'string', default: 'auto' } },
});
const qualities = positionals.length ? positionals.map(Number) : QUALITIES;
const folder = fileURLToPath(new URL('../tests/data/stories260k-full/', import.meta.url));
const base = join(folder, 'base.safetensors');
const finetuned = join(folder, 'ft-sft.safetensors');
const json = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
const config = json('config.json');

/** The text's windows of tokens, evenly spread over it. */
function windows() {
  const tokenizer = new Tokenizer(json('tokenizer.json'));
  const lines = readFileSync(join(folder, 'heldout.txt'), 'utf8').split('\n');
  const tokens = lines.flatMap((line) => tokenizer.encode(`${line}\n`));
  const size = WINDOW - 1;
  const all = Math.floor(tokens.length / size);
  const n = Math.min(all, Math.ceil(Number(values.tokens) / size));
  return Array.from({ length: n }, (_, i) => {
    const at = Math.floor((i * all) / n) * size;
    return [BOS, ...tokens.slice(at, at + size)];
  });
}

const text = windows();

/** Next-token distributions after every token of every window. */
async function distributions(file) {
  const model = new Llama(config, await collect(tensors({ base: file, as: 'float32' })));
  return text.flatMap((window) => {
    model.reset();
    return window.map((token) => softmax(model.forward(token)));
  });
}

const wanted = await distributions(finetuned);

/** Mean over all positions of the divergence of a model's distributions from the fine-tune's, in nats. */
async function divergence(file) {
  const got = await distributions(file);
  const at = (p, q) => p.reduce((sum, value, i) => sum + (value > 0 ? value * Math.log(value / q[i]) : 0), 0);
  return wanted.reduce((sum, p, i) => sum + at(p, got[i]), 0) / wanted.length;
}

/** Bits of payload for each weight. */
const bits = ({ layout, elements }) => (layout.payload.length * 8) / elements;

const scratch = mkdtempSync(join(tmpdir(), 'kl-'));
try {
  const rows = [];
  const measure = async (name, options) => {
    const delta = join(scratch, 'delta.wdelta');
    const output = join(scratch, 'model.safetensors');
    const { relativeError } = await encode({ base, finetuned, output: delta, ...options });
    await decode({ base, deltas: [delta], output });
    const inspected = await inspect(delta);
    rows.push({ name, bits: bits(inspected), relativeError, kl: await divergence(output) });
    rmSync(delta);
    rmSync(output);
  };
  await measure('`quantized`, version 1', { strategy: 'quantized', reference: true });
  for (const quality of qualities) {
    await measure(`\`lossy\`, quality ${quality}`, { strategy: 'lossy', quality, lowRank: values['low-rank'] });
  }
  const [reference] = rows;
  console.log(`${wanted.length} positions of heldout.txt; the base itself: ${(await divergence(base)).toExponential(2)}\n`);
  console.log('| strategy | payload, bits per weight | relative error | KL | of `quantized` |');
  console.log('|---|---:|---:|---:|---:|');
  for (const { name, bits, relativeError, kl } of rows) {
    const part = kl === reference.kl ? '1' : kl < reference.kl ? `1/${(reference.kl / kl).toFixed(1)}` : (kl / reference.kl).toFixed(2);
    console.log(`| ${name} | ${bits.toFixed(3)} | ${relativeError.toFixed(3)} | ${kl.toExponential(2)} | ${part} |`);
  }
} finally {
  rmSync(scratch, { recursive: true });
}
