// The sample engine against texts that sample_reference.py computed apart from it.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { generate } from '../../www/js/sample/generate.js';
import { collect, Llama } from '../../www/js/sample/llama.js';
import { Tokenizer } from '../../www/js/sample/tokenizer.js';
import { DATA, floatTensors } from './data.mjs';

const json = async (url) => JSON.parse(await readFile(url, 'utf8'));
const config = await json(new URL('config.json', DATA));
const tokenizer = new Tokenizer(await json(new URL('tokenizer.json', DATA)));
const model = async (name) =>
  new Llama(config, await collect(await floatTensors(new URL(`${name}.safetensors`, DATA))));

test('greedy text of base and fine-tunes equals the reference', async () => {
  const cases = await json(new URL('sample_expected.json', import.meta.url));
  assert.equal(cases.length, 6);
  for (const { model: name, prompt, tokens, text } of cases) {
    assert.equal([...generate(await model(name), tokenizer, prompt, { tokens })].join(''), text, `${name}: ${prompt}`);
  }
});

test('a seed repeats a draw, another seed does not', async () => {
  const base = await model('base');
  const draw = (seed) => [...generate(base, tokenizer, 'One day', { tokens: 40, temperature: 1, seed })].join('');
  assert.equal(draw(7), draw(7));
  assert.notEqual(draw(7), draw(8));
});

test('text survives encoding, characters without a piece go as bytes', () => {
  for (const text of ['Once upon a time', 'naïve 🦙 text', 'two  spaces', '']) {
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

test('incomplete or misfitting weights are named', async () => {
  const pieces = await floatTensors(new URL('base.safetensors', DATA));
  const [first, ...rest] = pieces;
  await assert.rejects(collect([{ ...first, data: first.data.subarray(1) }]), new RegExp(first.name));
  const weights = await collect(rest);
  assert.throws(() => new Llama(config, weights), new RegExp(first.name));
});
