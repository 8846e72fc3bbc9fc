// What the types and the help declare of reports, held against the reports of real runs.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as wdelta from '../../../pkg/node.js';
import { COMMANDS } from '../../../pkg/cli/commands.js';
import { readModel, writeModel } from '../../../pkg-scripts/lib/safetensors.mjs';
import { repository, sample } from './installed.mjs';

const ts = createRequire(join(repository, 'pkg-scripts/package.json'))('typescript');
const [base, sft, step1, step2] = ['base', 'ft-sft', 'ft-step1', 'ft-step2'].map((name) => join(sample, `${name}.safetensors`));

/** Reports by the name of their type, of runs that differ in what they tell. @type {Record<string, any[]>} */
const seen = {};
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-reports-'));
  const path = (name) => join(folder, `${name}.wdelta`);
  const note = async (type, report) => {
    const value = await report;
    (seen[type] ??= []).push(value);
    return value;
  };
  const { encode, decode, diff, hash, inspect, lineage, plan, stats, tensors, verify } = wdelta;
  const strategies = { lossless: {}, lossy: { baseName: 'owner/model' }, int4: { reference: false }, sparse: {}, quantized: {} };
  for (const [strategy, options] of Object.entries(strategies)) {
    const job = { base, finetuned: sft, strategy, ...options };
    await note('Plan', plan({ job: 'encode', ...job }));
    await note('EncodeReport', encode({ ...job, output: path(strategy) }));
    await note('Inspection', inspect(path(strategy)));
    await note('VerifyReport', verify({ deltas: path(strategy) }));
    for (const more of [{}, { base }]) {
      if (more.base || !['lossless', 'lossy'].includes(strategy)) for await (const item of stats({ deltas: path(strategy), ...more })) await note('TensorStats', item);
    }
    if (strategy === 'sparse') await note('DecodeReport', decode({ base, deltas: path(strategy) }));
    await note('DecodeReport', decode({ base, deltas: path(strategy), output: join(folder, `${strategy}.safetensors`) }));
  }
  await note('EncodeReport', encode({ base, finetuned: base, strategy: 'int4' }));
  // NaN as the first value of each tensor.
  const spoilt = new Map([...readModel(sft)].map(([key, tensor]) => [key, { ...tensor, bytes: Buffer.from(tensor.bytes).fill(0xff, 0, 2) }]));
  await note('EncodeReport', encode({ base, finetuned: writeModel(spoilt), strategy: 'quantized', reference: true }));
  // Shards in memory.
  const all = [...readModel(base)];
  const shards = [all.slice(0, 5), all.slice(5)].map((part, i) => new File([writeModel(new Map(part))], `model-0000${i + 1}-of-00002.safetensors`));
  await note('DecodeReport', decode({ base: shards, deltas: await readFile(path('int4')) }));
  await note('VerifyReport', verify({ deltas: path('lossy'), base }));
  for (const strategy of ['int4', 'lossless']) {
    const one = await encode({ base, finetuned: step1, strategy, output: path(`${strategy}-1`) });
    await encode({ base, finetuned: step2, strategy, parents: [path(`${strategy}-1`)], output: path(`${strategy}-2`) });
    assert.ok(one.bytes);
    const deltas = [path(`${strategy}-1`), path(`${strategy}-2`)];
    for (const more of [{}, { base }, { base: step2 }]) await note('Lineage', lineage({ deltas, ...more }));
    await note('DiffReport', diff({ a: deltas[0], b: path(strategy), base }));
  }
  const other = new Map([...readModel(base)].map(([key, tensor], i) => [i ? key : `${key}.other`, i === 1 ? { ...tensor, shape: [tensor.bytes.length / 2] } : tensor]));
  await note('DiffReport', diff({ a: base, b: writeModel(other) }));
  const nothing = [...readModel(base)].map(([key, tensor]) => [key, { ...tensor, bytes: Buffer.alloc(tensor.bytes.length) }]);
  await note('DiffReport', diff({ a: writeModel(new Map(nothing)), b: base }));
  await note('HashReport', hash({ model: base }));
  for (const as of ['stored', 'float32']) for await (const piece of tensors({ base, as })) await note('TensorPiece', piece);
});
after(() => rm(folder, { recursive: true }));

/** Findings of all reports: each of them has only some. @type {any[]} */
const findings = [];

/** Whether a value of JSON is what an object type describes. */
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value) && !ArrayBuffer.isView(value);

/** The interfaces of a file of declarations, by name. @param {string} path */
function declared(path) {
  const program = ts.createProgram([join(repository, path)], { strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ESNext, lib: ['lib.esnext.d.ts', 'lib.dom.d.ts'] });
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(join(repository, path));
  const types = new Map();
  ts.forEachChild(source, (node) => {
    if (ts.isInterfaceDeclaration(node)) types.set(node.name.text, checker.getTypeAtLocation(node));
  });
  return { checker, types };
}

/**
 * What does not agree between a type and values.
 * @param {any} checker @param {any} type @param {unknown[]} values @param {string} path
 * @returns {string[]}
 */
function disagreements(checker, type, values, path) {
  if (type.symbol?.name === 'Finding' && path !== 'Finding') {
    findings.push(...values);
    return [];
  }
  const parts = type.isUnion() ? type.types : [type];
  const has = (flag) => parts.some(({ flags }) => flags & flag);
  const found = [];
  if (values.includes(null) && !has(ts.TypeFlags.Null | ts.TypeFlags.Unknown)) found.push(`${path} can be null`);
  const literals = parts.filter((part) => part.isStringLiteral()).map(({ value }) => value);
  for (const value of new Set(values.filter((one) => typeof one === 'string'))) {
    if (!has(ts.TypeFlags.String | ts.TypeFlags.Unknown) && !literals.includes(value)) found.push(`${path} can be ${value}`);
  }
  if (values.some((one) => typeof one === 'number') && !has(ts.TypeFlags.NumberLike | ts.TypeFlags.Unknown)) found.push(`${path} can be a number`);
  const list = parts.find((part) => checker.isArrayType(part) || checker.isTupleType(part));
  if (list) {
    const items = values.filter(Array.isArray).flat();
    return items.length ? [...found, ...disagreements(checker, checker.getTypeArguments(list)[0], items, `${path}[]`)] : found;
  }
  const objects = values.filter(isObject);
  const shape = parts.find((part) => part.flags & ts.TypeFlags.Object && !checker.getIndexInfosOfType(part).length);
  if (!shape || !objects.length) return found;
  const known = checker.getPropertiesOfType(shape);
  const extra = new Set(objects.flatMap(Object.keys));
  for (const { name } of known) extra.delete(name);
  for (const key of extra) found.push(`${path}.${key} is not declared`);
  for (const property of known) {
    const { name } = property;
    const optional = property.flags & ts.SymbolFlags.Optional;
    const there = objects.filter((one) => one[name] !== undefined);
    if (!there.length) found.push(`${path}.${name} is never there`);
    else if (!optional && there.length < objects.length) found.push(`${path}.${name} is not always there`);
    else found.push(...disagreements(checker, checker.getTypeOfSymbol(property), there.map((one) => one[name]), `${path}.${name}`));
  }
  return found;
}

test('the types name all that reports hold, and nothing else', () => {
  const { checker, types } = declared('src/js/types.d.ts');
  const found = Object.entries(seen).flatMap(([name, values]) => disagreements(checker, types.get(name), values, name));
  // A finding about one tensor takes one of a million values.
  const rare = ['Finding.tensor is never there'];
  assert.deepEqual([...found, ...disagreements(checker, types.get('Finding'), findings, 'Finding')], rare);
});

/** What the help says of a report, as names with whether they may be missing and what is within. @param {string} text */
function spelled(text) {
  const tokens = text.match(/[\w]+\??|[{}[\],:]/g);
  let at = 0;
  const object = () => {
    const names = new Map();
    assert.equal(tokens[at++], '{');
    while (tokens[at] !== '}') {
      const name = tokens[at++];
      let within;
      if (tokens[at] === ':') {
        at++;
        const list = tokens[at] === '[';
        if (list) at++;
        within = object();
        if (list) at++;
      }
      names.set(name.replace('?', ''), { optional: name.endsWith('?'), within });
      if (tokens[at] === ',') at++;
    }
    at++;
    return names;
  };
  return object();
}

/** @param {Map<string, any>} names @param {any[]} values @param {string} path @returns {string[]} */
function misspelled(names, values, path) {
  const keys = new Set(values.flatMap(Object.keys));
  const found = [...keys].filter((key) => !names.has(key)).map((key) => `${path}.${key} is missing`);
  for (const [name, { optional, within }] of names) {
    const there = values.filter((value) => value[name] !== undefined);
    if (!there.length || optional !== there.length < values.length) found.push(`${path}.${name} is there ${there.length} times of ${values.length}`);
    else if (within) found.push(...misspelled(within, there.flatMap((value) => value[name]), `${path}.${name}`));
  }
  return found;
}

test('the help spells the reports as they are', () => {
  const names = { inspect: 'Inspection', encode: 'EncodeReport', decode: 'DecodeReport', verify: 'VerifyReport', lineage: 'Lineage', stats: 'TensorStats', diff: 'DiffReport', hash: 'HashReport' };
  const found = Object.entries(names).flatMap(([command, report]) => {
    // The command line always has an output.
    const values = seen[report].filter((value) => value.outputs || !('job' in value));
    return misspelled(spelled(COMMANDS[command].json), values, command);
  });
  assert.deepEqual(found, []);
});
