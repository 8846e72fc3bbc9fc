#!/usr/bin/env node
// Stores three fine-tunes of stories260K as deltas, rebuilds them from the base, and checks the rebuild with arithmetic of
// its own. Uses the built package in pkg/ only.
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode, encode, inspect, lineage, verify } from '../pkg/node.js';
import { root } from './lib/run.mjs';
import { readModel, toBf16, toFloat32 } from './lib/safetensors.mjs';

const STRATEGIES = ['lossless', 'lossy', 'int4', 'sparse', 'quantized'];
const model = (name) => join(root, 'tests/data/stories260k-full', `${name}.safetensors`);

function check(condition, sentence) {
  if (!condition) throw new Error(`the demo's check failed: ${sentence}`);
}

/** Euclidean distance of two models over all tensors. */
function distance(a, b) {
  let sum = 0;
  for (const [name, tensor] of a) {
    const [x, y] = [toFloat32(tensor), toFloat32(b.get(name))];
    for (let i = 0; i < x.length; i++) sum += (x[i] - y[i]) ** 2;
  }
  return Math.sqrt(sum);
}

/**
 * Rebuilds a model in ways that must agree: by one worker and by two, and from version 1 as float32, rounded here.
 *
 * @returns the model, of version 1 as float32
 */
async function rebuild(folder, base, deltas, version) {
  const paths = ['one', 'two', 'float32'].map((name) => join(folder, `${name}.safetensors`));
  await decode({ base, deltas, output: paths[0], workers: 1, force: true });
  await decode({ base, deltas, output: paths[1], workers: 2, force: true });
  const [one, two] = [await readFile(paths[0]), await readFile(paths[1])];
  check(one.equals(two), 'the model rebuilt by one worker equals the one rebuilt by two');
  if (version === 2) return readModel(paths[0]);

  await decode({ base, deltas, output: paths[2], dtype: 'float32', force: true });
  const exact = readModel(paths[2]);
  const rounded = readModel(one);
  check(exact.size === rounded.size && exact.size > 0, 'both rebuilt models have all tensors');
  for (const [name, { bytes }] of rounded) {
    check(Buffer.from(toBf16(toFloat32(exact.get(name)))).equals(bytes), `${name} is the float32 result rounded to bf16`);
  }
  return exact;
}

/** One row: stores `finetuned` as a delta on `parents`, looks into it, verifies it, rebuilds it. */
async function store(folder, { finetuned, strategy, parents, parentModel }) {
  const base = model('base');
  const output = join(folder, `${finetuned}-${strategy}.wdelta`);
  const report = await encode({ base, finetuned: model(finetuned), parents, output, strategy });
  const seen = await inspect(output);
  check(seen.strategy === strategy && seen.tensors.length === report.tensors.length, `inspect shows what ${output} holds`);
  const deltas = [...parents, output];
  check((await verify({ deltas, base })).ok, 'the checksums, the records and the base fit');

  const rebuilt = await rebuild(folder, base, deltas, seen.version);
  const target = readModel(model(finetuned));
  if (strategy === 'lossless') {
    const [one, original] = await Promise.all([readFile(join(folder, 'one.safetensors')), readFile(model(finetuned))]);
    check(one.equals(original), 'a lossless delta gives the fine-tune back byte for byte');
  }
  const error = distance(rebuilt, target) / distance(target, parentModel ?? readModel(base));
  check(Math.abs(error - report.relativeError) < 1e-3, `the report says ${report.relativeError}, the rebuilt model ${error}`);

  const [size, whole] = [(await stat(output)).size, (await stat(model(finetuned))).size];
  const row = [
    parents.length > 0 ? `${finetuned} on ft-step1` : finetuned,
    strategy,
    `${size.toLocaleString('en-US')} B`,
    `${(whole / size).toFixed(2)} x`,
    ((8 * size) / report.elements).toFixed(2),
    error.toFixed(3),
    'yes',
  ];
  return { row, output, rebuilt };
}

function print(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  for (const row of rows) console.log(row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '));
}

const folder = await mkdtemp(join(tmpdir(), 'wdelta-demo-'));
try {
  const rows = [['fine-tune', 'strategy', 'size', 'ratio', 'bits/param', 'error', 'verified']];
  for (const strategy of STRATEGIES) {
    rows.push((await store(folder, { finetuned: 'ft-sft', strategy, parents: [] })).row);
  }
  for (const strategy of STRATEGIES) {
    const first = await store(folder, { finetuned: 'ft-step1', strategy, parents: [] });
    const second = await store(folder, { finetuned: 'ft-step2', strategy, parents: [first.output], parentModel: first.rebuilt });
    check((await lineage({ base: model('base'), deltas: [first.output, second.output] })).ok, 'the two deltas form a chain');
    rows.push(first.row, second.row);
  }
  const { size } = await stat(model('base'));
  console.log(`stories260K: 260,032 weights in bf16, ${size.toLocaleString('en-US')} bytes per model\n`);
  print(rows);
  console.log("\nratio: the fine-tune's file against the delta. error: distance of the rebuilt model from the fine-tune, relative to");
  console.log('what the delta stores. verified: checksums and parent hashes hold, every way to rebuild gives the same bits.');
} finally {
  await rm(folder, { recursive: true });
}
