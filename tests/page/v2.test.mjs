// Version 2 in every journey: made, inspected with its base, rebuilt to the fine-tune's own bytes, compared, ordered.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { encode } from '../../pkg/node.js';
import { addDelta, start } from './browser.mjs';
import { DATA } from './data.mjs';

const [BASE, STEP1, STEP2] = ['base', 'ft-step1', 'ft-step2'].map((name) => fileURLToPath(new URL(`${name}.safetensors`, DATA)));

let folder, site;
const path = (name) => join(folder, name);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-v2-'));
  await encode({ base: BASE, finetuned: STEP1, strategy: 'lossless', output: path('one.wdelta') });
  await encode({ base: BASE, finetuned: STEP2, strategy: 'lossless', parents: [path('one.wdelta')], output: path('two.wdelta') });
  site = await start();
});
after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

test('make: lossless, with the bytes that Node gives, its size estimated before', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(BASE, STEP1);
  await page.getByRole('radio', { name: /^lossless/ }).check();
  // Of a model this small everything is the sample.
  await page.locator('.preflight').getByText('estimated from all tensors').waitFor();
  const about = /Output: about ([\d.]+)\skB/.exec(await page.locator('.preflight').innerText());
  const { size } = await stat(path('one.wdelta'));
  assert.ok(Math.abs(Number(about?.[1]) * 1000 - size) < 0.05 * size, `${about?.[1]} kB, in fact ${size} bytes`);
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  assert.match(await page.locator('.saved').innerText(), /every bit comes back/);
  const { bytes } = await driven.download(/^Download ft-step1/);
  assert.ok(bytes.equals(await readFile(path('one.wdelta'))), `${bytes.length} bytes`);
  await driven.close();
});

test('make: lossy, by its quality or by how small it shall be, with the bytes that Node gives', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(BASE, STEP1);
  await page.getByRole('radio', { name: /^lossy/ }).check();
  for (const [label, value, options] of [
    [/^Quality/, '80', { quality: 80 }],
    [/^Or: how many times smaller/, '12', { ratio: 12 }],
  ]) {
    const field = page.getByLabel(label);
    await field.fill(value);
    await field.press('Tab');
    const made = await page.locator('.saved').count();
    await page.locator('[data-key=start]:enabled').click();
    await page.locator('.saved').nth(made).waitFor();
    const { bytes } = await driven.download(/^Download ft-step1/);
    const { data } = await encode({ base: BASE, finetuned: STEP1, strategy: 'lossy', ...options });
    assert.ok(bytes.equals(data), `${JSON.stringify(options)}: ${bytes.length} bytes, Node gives ${data.length}`);
  }
  await driven.close();
});

test('inspect: version, operations and tables; values are measured once the base is open', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(path('one.wdelta'));
  await page.locator('.summary').getByText('lossless · v2').waitFor();
  await page.locator('.strip figcaption').getByText('Tables').waitFor();
  await page.locator('.tensors tbody tr').first().click();
  const details = page.locator('aside.details');
  await details.getByText('Operation').waitFor();
  // A file has a strategy, a tensor in it an operation.
  await page.locator('.tensors thead').getByText('Operation').waitFor();
  assert.deepEqual(await page.getByText('Strategy').evaluateAll((all) => all.map((one) => one.closest('.summary') !== null)), [true]);
  await details.getByText(/only beside its base/).waitFor();
  await page.locator('select[aria-label=Measure]').selectOption('rms');
  await page.getByRole('button', { name: 'Open base to measure…' }).waitFor();
  await driven.give(BASE);
  await page.locator('button[data-key=measure]').click();
  await page.getByText('measured', { exact: true }).waitFor();
  await details.locator('.plot').first().waitFor();
  // What was measured against one base says nothing of another.
  await driven.give(STEP1);
  await page.getByLabel('Role of ft-step1.safetensors').selectOption('base');
  await details.getByText('Not measured.').waitFor();
  await driven.close();
});

test('lineage, compare and rebuild of a chain, to the bytes of the fine-tune', async () => {
  const driven = await site.open({ path: '#lineage' });
  const { page } = driven;
  await driven.give(path('two.wdelta'), path('one.wdelta'), BASE);
  await page.getByRole('button', { name: /^Check the links/ }).click();
  await page.getByText('2 deltas; links: 2 verified.').waitFor();
  await page.getByRole('button', { name: 'Rebuild with 2 deltas' }).click();
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  const { bytes } = await driven.download(/^Download /);
  assert.ok(bytes.equals(await readFile(STEP2)), `${bytes.length} bytes`);
  await driven.close();

  // Version 2 gives the fine-tune's own numbers: what was chosen for another delta does not stand in the way.
  const mixed = await site.open({ path: '#rebuild' });
  await mixed.give({ name: 'int4.wdelta', mimeType: '', buffer: Buffer.from((await encode({ base: BASE, finetuned: STEP1, strategy: 'int4' })).data) }, BASE);
  await mixed.page.getByRole('radio', { name: /^float32/ }).check();
  await mixed.give(path('one.wdelta'));
  await addDelta(mixed.page, 'one.wdelta');
  await mixed.page.getByRole('button', { name: 'Remove int4.wdelta from the chain' }).click();
  await mixed.page.getByRole('radio', { name: /^float32/ }).waitFor({ state: 'detached' });
  await mixed.page.locator('[data-key=start]:enabled').click();
  await mixed.page.locator('[data-result]').waitFor();
  const rebuilt = await mixed.download(/^Download /);
  assert.ok(rebuilt.bytes.equals(await readFile(STEP1)), `${rebuilt.bytes.length} bytes`);
  await mixed.close();

  // Each says how far values move from another model: of both only the sizes are compared.
  const chained = await site.open({ path: '#compare' });
  await chained.give(path('one.wdelta'), path('two.wdelta'), BASE);
  await chained.page.getByText('Made against different models').waitFor();
  assert.equal(await chained.page.locator('[data-key=diff]').count(), 0);
  await chained.close();

  const pair = await site.open({ path: '#compare' });
  await pair.give(path('one.wdelta'), { name: 'int4.wdelta', mimeType: '', buffer: Buffer.from((await encode({ base: BASE, finetuned: STEP1, strategy: 'int4' })).data) });
  await pair.page.getByText(/how alike they are needs the base/).waitFor();
  await pair.give(BASE);
  await pair.page.locator('[data-key=diff]').click();
  await pair.page.getByText('Furthest apart').waitFor();
  await pair.close();
});

test('links count as verified for the files that they were checked with only, but for those that headers tell', async () => {
  const [one, two] = [path('one-int4.wdelta'), path('two-int4.wdelta')];
  await encode({ base: BASE, finetuned: STEP1, strategy: 'int4', output: one });
  await encode({ base: BASE, finetuned: STEP2, parents: [one], strategy: 'int4', output: two });
  for (const [deltas, then] of [
    [[path('one.wdelta'), path('two.wdelta')], 'verified'],
    [[one, two], 'checked while rebuilding'],
  ]) {
    const driven = await site.open({ path: '#lineage' });
    const { page } = driven;
    await driven.give(...deltas, BASE, STEP1);
    await page.getByRole('button', { name: /^Check the links/ }).click();
    await page.getByText('2 deltas; links: 2 verified.').waitFor();
    await page.getByRole('button', { name: 'Rebuild with 2 deltas' }).click();
    const said = page.locator('.preflight');
    await said.getByText('The links between the deltas are verified.').waitFor();
    await page.locator('[data-key="entry Base"]').selectOption({ label: await page.locator('[data-key="entry Base"] option', { hasText: /^ft-step1/ }).innerText() });
    await said.getByText('Base: ft-step1.safetensors').waitFor();
    await said.getByText(/^The base's hash is checked while rebuilding/).waitFor();
    await said.getByText(`The links between the deltas are ${then}.`).waitFor();
    await driven.close();
  }
});
