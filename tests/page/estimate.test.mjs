// The size of a delta before it is made: told from a sample of the models, for what is chosen now, and out of a job's way.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { encode } from '../../pkg/node.js';
import { writeModel } from '../../pkg-scripts/lib/safetensors.mjs';
import { start } from './browser.mjs';

/** How far an estimate may be from what the delta then has. */
const OFF = 0.15;

let folder, site;
const path = (name) => join(folder, name);

/** Deterministic noise between -1 and 1. @param {number} seed */
function noise(seed) {
  let x = seed;
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return x / 2 ** 31 - 1;
  };
}

/**
 * A bf16 model of 24 MB: a large table, layers, norms, and a tensor that has no rows. What changes does so more the deeper
 * the layer.
 * @param {number} change
 */
function model(change) {
  const [base, step] = [noise(1), noise(2)];
  /** @type {[string, number[]][]} */
  const shapes = [['model.embed_tokens.weight', [4000, 1024]]];
  for (let i = 0; i < 8; i++) {
    shapes.push([`model.layers.${i}.mlp.up_proj.weight`, [1000, 1024]]);
    shapes.push([`model.layers.${i}.input_layernorm.weight`, [1024]]);
  }
  shapes.push(['model.unused.weight', [0, 1024]]);
  const tensors = shapes.map(([name, shape], at) => {
    const words = new Uint16Array(shape.reduce((product, side) => product * side, 1));
    const floats = new Float32Array(1);
    const bits = new Uint32Array(floats.buffer);
    for (let i = 0; i < words.length; i++) {
      floats[0] = base() * 0.05 + (change && at ? step() * change * at : 0);
      words[i] = bits[0] >>> 16;
    }
    return [name, { dtype: 'BF16', shape, bytes: Buffer.from(words.buffer) }];
  });
  return writeModel(new Map(tensors));
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-estimate-'));
  await writeFile(path('base.safetensors'), model(0));
  await mkdir(path('tuned'));
  await writeFile(path('tuned/model.safetensors'), model(1e-4));
  site = await start();
});
after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

/** Megabytes that Make says of a strategy, once it says any. */
async function said(page, strategy) {
  const size = page.locator('.option').filter({ has: page.getByRole('radio', { name: new RegExp(`^${strategy}`) }) }).locator('.size');
  const [, number, unit] = /([\d.]+)\s(kB|MB)/.exec(await size.filter({ hasText: '≈' }).innerText());
  return Number(number) * (unit === 'MB' ? 1e6 : 1e3);
}

test('lossless and lossy are estimated from a part of the models, near what comes of it', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(path('base.safetensors'), path('tuned/model.safetensors'));
  await page.getByText('Encoding a sample to estimate the size').waitFor();
  const [base, finetuned] = [path('base.safetensors'), path('tuned/model.safetensors')];
  for (const [strategy, options] of [['lossless', {}], ['lossy', {}], ['lossy', { quality: 20 }]]) {
    await page.getByRole('radio', { name: new RegExp(`^${strategy}`) }).check();
    if (options.quality) {
      await page.getByLabel(/^Quality/).fill(String(options.quality));
      await page.getByLabel(/^Quality/).press('Tab');
      await page.getByText('Encoding a sample to estimate the size').waitFor();
    }
    const estimate = await said(page, strategy);
    assert.match(await page.locator('.preflight').innerText(), /estimated from a sample of 3\d\.\d\s%/);
    const { bytes } = await encode({ base, finetuned, strategy, ...options, output: path('made.wdelta'), force: true });
    assert.ok(Math.abs(estimate - bytes) < OFF * bytes, `${strategy} ${JSON.stringify(options)}: ${estimate} estimated, ${bytes} in fact`);
  }
  await driven.close();
});

test('a job does not wait for an estimate; the estimate comes afterwards', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(path('base.safetensors'), path('tuned/model.safetensors'));
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  await said(page, 'lossy');
  // Of what has been made the size is known.
  const { size } = await page.getByRole('button', { name: /^Download/ }).evaluate((button) => ({ size: button.textContent.split(' · ')[1] }));
  assert.equal(await page.locator('.option', { has: page.getByRole('radio', { name: /^lossless/ }) }).locator('.size').innerText(), size);
  assert.match(await page.locator('.preflight').innerText(), new RegExp(`Output: ${size.replace('.', '\\.')}\\s`));
  await driven.close();
});

test('what is being typed when an estimate arrives is not lost', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(path('base.safetensors'), path('tuned/model.safetensors'));
  await page.getByText('Encoding a sample to estimate the size').waitFor();
  const name = page.getByLabel('File name');
  await name.fill('typed');
  await said(page, 'lossless');
  await page.keyboard.type(' by hand');
  await said(page, 'lossy');
  assert.equal(await name.inputValue(), 'typed by hand');
  await page.locator('[data-key=start]:enabled').click();
  await page.getByRole('button', { name: 'Download typed by hand' }).waitFor();
  await driven.close();
});

/** A model of one tensor. @param {string} name @param {number} seed @param {number} [change] */
function single(name, seed, change = 0) {
  const [base, step] = [noise(seed), noise(seed + 7)];
  const values = Float32Array.from({ length: 300_000 }, () => base() + change * step());
  return writeModel(new Map([[name, { dtype: 'F32', shape: [300, 1000], bytes: Buffer.from(values.buffer) }]]));
}
const named = (name, buffer) => ({ name, mimeType: 'application/octet-stream', buffer });

test('of models that have nothing in common the size is near that of the whole', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(named('base.safetensors', single('one.weight', 1)), named('other.safetensors', single('another.weight', 2)));
  await page.getByRole('radio', { name: /^lossless/ }).check();
  const estimate = await said(page, 'lossless');
  assert.ok(estimate > 900_000 && estimate < 1_300_000, `${estimate}`);
  await driven.close();
});

test('results name how they were made and their size; a quality that costs too much is warned of', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(named('base.safetensors', single('a.weight', 1)), named('tuned.safetensors', single('a.weight', 1, 1e-3)));
  const warning = page.locator('.preflight [data-mood=warning]');
  await page.getByRole('radio', { name: /^lossy/ }).check();
  for (const [label, value, text] of [
    [/^Quality/, '40', null],
    [/^Quality/, '35', 'further from the fine-tune'],
    [/^Quality/, '30', 'worse than the base'],
    [/^Or: how many/, '31', 'further from the fine-tune'],
    [/^Or: how many/, '30', null],
    [/^Or: how many/, '', 'worse than the base'],
  ]) {
    await page.getByLabel(label).fill(value);
    await page.getByLabel(label).press('Tab');
    if (text) await warning.filter({ hasText: text }).waitFor();
    else await page.waitForFunction(() => !document.querySelector('.preflight [data-mood=warning]'));
  }
  for (const [strategy, title] of [['lossy', 'Delta made: lossy, quality 30'], ['int4', 'Delta made: int4, outliers 0.01']]) {
    await page.getByRole('radio', { name: new RegExp(`^${strategy}`) }).check();
    await page.locator('[data-key=start]:enabled').click();
    const made = page.locator('.saved').filter({ has: page.getByRole('heading', { name: title }) });
    await made.getByRole('button', { name: new RegExp(`^Download tuned-${strategy}\\.wdelta · \\d`) }).waitFor();
  }
  await driven.close();
});
