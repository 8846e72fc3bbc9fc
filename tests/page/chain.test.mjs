// Deltas on deltas in the page, and files that take the place of others: what follows what is read from the headers.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encode } from '../../pkg/node.js';
import { DATA } from './data.mjs';
import { addDelta, start } from './browser.mjs';

const [BASE, STEP1, STEP2, SFT] = ['base', 'ft-step1', 'ft-step2', 'ft-sft'].map((name) => fileURLToPath(new URL(`${name}.safetensors`, DATA)));

let folder, site;
const path = (name) => join(folder, name);
const named = (name, buffer) => ({ name, mimeType: '', buffer });

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-chain-'));
  await encode({ base: BASE, finetuned: STEP1, output: path('one.wdelta') });
  await encode({ base: BASE, finetuned: STEP2, parents: [path('one.wdelta')], output: path('two.wdelta') });
  await encode({ base: BASE, finetuned: SFT, output: path('sft.wdelta') });
  await encode({ base: BASE, finetuned: SFT, strategy: 'int4', output: path('int4.wdelta') });
  site = await start();
});

after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

/** Names of the deltas to apply, in order. */
const steps = (page) => page.locator('.steps .name').allInnerTexts();

test('a delta on a delta is measured, checked and rebuilt without setting the chain first', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(path('two.wdelta'), path('one.wdelta'), path('sft.wdelta'), BASE);
  await page.locator('[data-key="row model.layers.0.mlp.up_proj.weight"]').click();
  await page.locator('aside.details').getByText('Relative to base').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Check file and base' }).click();
  await page.locator('.summary').getByText('matches the base with 1 other delta').waitFor();
  await page.locator('aside.details').getByText('The base with 1 other delta has the expected hash.').waitFor();
  assert.ok(await page.locator('aside.details').evaluate((details) => details.scrollWidth <= details.clientWidth), 'the details are cut off');
  await driven.view('Lineage');
  await page.getByText('3 deltas; links: 1 verified, 2 not checked.').waitFor();
  assert.equal(await page.getByText('Without the base').count(), 0);
  await driven.view('Rebuild');
  assert.deepEqual(await steps(page), ['two.wdelta']);
  await page.getByText('From the base to two.wdelta: one.wdelta, two.wdelta.').waitFor();
  await page.getByRole('button', { name: 'Use this order' }).click();
  await page.locator('.steps li').nth(1).waitFor();
  assert.deepEqual(await steps(page), ['one.wdelta', 'two.wdelta']);
  await page.getByRole('button', { name: 'Rebuild model' }).click();
  await page.locator('[data-result]').waitFor();
  const { bytes } = await driven.download(/^Download two/);
  assert.ok(bytes.equals(await readFile(STEP2)));
  await driven.close();
});

test('links that are verified down to the base count as a check, others do not', async () => {
  for (const [base, mark] of [[BASE, 1], [SFT, 0]]) {
    const driven = await site.open({ path: '#lineage' });
    const { page } = driven;
    await driven.give(path('one.wdelta'), path('two.wdelta'), base);
    await page.getByRole('button', { name: /^Check the links/ }).click();
    await page.getByText(mark ? '2 deltas; links: 2 verified.' : '2 deltas; links: 1 verified, 1 broken.').waitFor();
    await driven.view('Inspect');
    await page.locator('.chip button.link').filter({ hasText: 'two' }).click();
    await page.locator('.summary').getByText(mark ? 'matches the base with 1 other delta' : 'not checked').waitFor();
    assert.equal(await page.locator('.chip').filter({ hasText: 'two' }).locator('.status.ok').count(), mark);
    await driven.close();
  }
});

test('what was found against one base is not said of another', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(path('one.wdelta'), BASE, SFT);
  const tick = page.locator('.chip.delta .status.ok');
  await page.getByRole('button', { name: 'Check file and base' }).click();
  await page.locator('.summary').getByText('matches the base', { exact: true }).waitFor();
  assert.equal(await tick.count(), 1);
  // Lineage knows of it.
  await driven.view('Lineage');
  await page.getByText('1 delta; links: 1 verified.').waitFor();
  await driven.view('Inspect');
  await page.getByLabel('Role of ft-sft.safetensors').selectOption('base');
  await page.locator('.summary').getByText('not checked').waitFor();
  assert.equal(await tick.count(), 0);
  await page.getByRole('button', { name: 'Check file and base' }).click();
  await page.locator('.summary').getByText('not this base').waitFor();
  assert.equal(await page.locator('.chip.delta .status.error').count(), 1);
  await page.getByLabel('Role of base.safetensors').selectOption('base');
  await page.locator('.summary').getByText('matches the base', { exact: true }).waitFor();
  assert.equal(await tick.count(), 1);
  await driven.close();
});

/** Waits until the start is barred, for a reason that stands beside it and describes it. */
async function barred(page, reason) {
  await page.locator('#why').getByText(reason, { exact: true }).waitFor();
  assert.equal(await page.locator('[data-key=start]:disabled').getAttribute('aria-describedby'), 'why');
}

test('a link that is known to be broken bars the start until it is mended', async () => {
  const driven = await site.open({ path: '#lineage' });
  const { page } = driven;
  await driven.give(path('two.wdelta'), BASE);
  await page.getByRole('button', { name: /^Check the links/ }).click();
  await page.getByText('1 delta; links: 1 broken.').waitFor();
  await driven.view('Rebuild');
  await barred(page, 'The link of two.wdelta is broken.');
  await page.getByRole('button', { name: 'Look at the chain' }).click();
  await page.locator('html[data-view=lineage]').waitFor();
  await driven.view('Rebuild');
  // What was missing is there, but not chosen.
  await driven.give(path('one.wdelta'));
  await barred(page, 'These deltas do not follow each other like this.');
  await page.getByRole('button', { name: 'Use this order' }).click();
  await page.locator('[data-key=start]:enabled').waitFor();
  assert.equal(await page.locator('#why').innerText(), '');
  await driven.close();
});

test('a base that a chain was found not to fit bars the start until there is another', async () => {
  const driven = await site.open({ path: '#rebuild' });
  const { page } = driven;
  await driven.give(path('one.wdelta'), path('two.wdelta'), SFT, BASE);
  await addDelta(page, 'two.wdelta');
  await page.locator('[data-key=start]:enabled').click();
  await driven.problem('WRONG_BASE');
  await barred(page, 'Made against another base; see below.');
  await page.getByLabel('Role of base.safetensors').selectOption('base');
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  assert.ok(await page.locator('[data-result]').evaluate((result) => result === document.activeElement), 'the focus is not at the result');
  await driven.close();
});

test('damage is said once, and not laid to the base', async () => {
  const driven = await site.open();
  const { page } = driven;
  const damaged = Buffer.from(await readFile(path('one.wdelta')));
  damaged[damaged.length - 5000] ^= 1;
  await driven.give(named('damaged.wdelta', damaged), BASE);
  await page.getByRole('button', { name: 'Check file and base' }).click();
  await page.locator('.summary').getByText('check failed').waitFor();
  // Digits stand in groups, as everywhere on the page.
  assert.match(await driven.problem('CHECKSUM'), /bytes [\d,]+ to \d{2,3},\d{3} of the delta/);
  const tensor = page.locator('[data-code=CHECKSUM] p code').first();
  assert.match((await tensor.textContent()) ?? '', /^[\w.]+\.weight$/, 'a name is set apart, and without its quotes');
  const details = page.locator('aside.details');
  for (const check of ['Check file and base', 'Check the file']) {
    // What stands there now is drawn anew when the check begins and when it ends.
    await details.locator('.problem').evaluate((problem) => (problem.dataset.old = ''));
    await page.getByRole('button', { name: check }).click();
    await details.locator('.problem:not([data-old])').waitFor();
    await page.locator('[data-key="verify file"]:enabled').waitFor();
    await details.getByText('Not known: the file could not be checked.').waitFor();
    assert.equal(await details.locator('.problem').count(), 1);
  }
  await driven.close();
});

test('damage stays known, whatever else is checked, and bars the start', async () => {
  const driven = await site.open();
  const { page } = driven;
  const damaged = Buffer.from(await readFile(path('one.wdelta')));
  damaged[damaged.length - 5000] ^= 1;
  await driven.give(named('damaged.wdelta', damaged), BASE);
  const details = page.locator('aside.details');
  await page.getByRole('button', { name: 'Check the file' }).click();
  await details.locator('.problem').waitFor();
  await driven.view('Lineage');
  await page.getByRole('button', { name: /^Check the links/ }).click();
  await page.getByText('1 delta; links: 1 verified.').waitFor();
  await driven.view('Inspect');
  await details.locator('.problem').waitFor();
  assert.equal(await details.getByText('Checksum and records are good.').count(), 0);
  assert.equal(await page.locator('.chip.delta .status.error').count(), 1);
  await driven.view('Rebuild');
  await page.locator('.preflight').getByText('The bytes are damaged').waitFor();
  await barred(page, 'Not possible, see above.');
  await driven.close();
});

test('what a check of links says nothing of is not said to be intact, and what a check says of a file outlives the base', async () => {
  const driven = await site.open({ path: '#lineage' });
  const { page } = driven;
  await driven.give(path('one.wdelta'), BASE);
  await page.getByRole('button', { name: /^Check the links/ }).click();
  await page.getByText('1 delta; links: 1 verified.').waitFor();
  await driven.view('Inspect');
  const details = page.locator('aside.details');
  await details.getByText('The base has the expected hash.').waitFor();
  await page.getByRole('button', { name: 'Check the file' }).click();
  await details.getByText('Checksum and records are good.').waitFor();
  await page.getByRole('button', { name: 'Remove base.safetensors' }).click();
  await page.locator('.chip').filter({ hasText: 'base' }).waitFor({ state: 'detached' });
  await details.getByText('Checksum and records are good.').waitFor();
  await driven.close();
});

test('deltas of the same base are not taken for a chain once their links are known', async () => {
  const driven = await site.open({ path: '#lineage' });
  const { page } = driven;
  await driven.give(path('one.wdelta'), path('int4.wdelta'), BASE);
  await page.getByRole('button', { name: /^Check the links/ }).click();
  await page.getByText('2 deltas; links: 2 verified.').waitFor();
  await driven.view('Rebuild');
  await page.locator('[data-key=start]:enabled').waitFor();
  await addDelta(page, 'int4.wdelta');
  await barred(page, 'These deltas do not follow each other like this.');
  await page.getByRole('button', { name: 'Use this order' }).click();
  await page.locator('[data-key=start]:enabled').waitFor();
  assert.deepEqual(await steps(page), ['int4.wdelta']);
  await driven.close();
});

test('a file that replaces another takes its place, in the tray and in the chain', async () => {
  const driven = await site.open({ path: '#rebuild' });
  const { page } = driven;
  const damaged = Buffer.from(await readFile(path('one.wdelta')));
  damaged[damaged.length - 5000] ^= 1;
  await driven.give(BASE, named('first.wdelta', damaged), path('two.wdelta'));
  await addDelta(page, 'two.wdelta');
  await page.getByRole('button', { name: 'Rebuild model' }).click();
  await driven.problem('CHECKSUM');
  const chooser = page.waitForEvent('filechooser');
  await page.locator('[data-code=CHECKSUM]').getByRole('button', { name: 'Choose again…' }).click();
  await (await chooser).setFiles(path('one.wdelta'));
  await page.locator('.steps').getByText('one.wdelta').waitFor();
  assert.deepEqual(await steps(page), ['one.wdelta', 'two.wdelta']);
  assert.deepEqual(await page.locator('.chip .name').evaluateAll((names) => names.map(({ title }) => title)), ['base.safetensors', 'one.wdelta', 'two.wdelta']);
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  await driven.close();
});

test('a base that replaces another is the base, and the fine-tune stays what it is', async () => {
  const driven = await site.open({ path: '#rebuild' });
  const { page } = driven;
  await driven.give(SFT, STEP1, path('one.wdelta'));
  await page.locator('[data-key=start]:enabled').click();
  await driven.problem('WRONG_BASE');
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Choose another base…' }).click();
  await (await chooser).setFiles(BASE);
  await page.locator('.chip.base').filter({ hasText: 'base.safetensors' }).waitFor();
  assert.equal(await page.locator('.chip.finetuned .name').innerText(), 'ft-step1.safetensors');
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  await driven.close();
});

test('a delta that cannot be read gives way to one that can', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(named('cut.wdelta', (await readFile(path('one.wdelta'))).subarray(0, 9000)), path('sft.wdelta'), BASE);
  await driven.problem('TRUNCATED');
  await page.locator('.summary').getByText('lossless · v2').waitFor();
  await driven.view('Rebuild');
  await page.locator('.steps li').waitFor();
  assert.deepEqual(await steps(page), ['sft.wdelta']);
  await driven.close();
});

test('the delta that is looked at is the one that is rebuilt, unless it is in the chain', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(path('sft.wdelta'), path('one.wdelta'), path('two.wdelta'), BASE);
  const look = (file) => page.locator('.tray').getByRole('button', { name: file, exact: true }).click();
  const rebuilds = async (...names) => {
    await driven.view('Rebuild');
    await page.waitForFunction((wanted) => [...document.querySelectorAll('.steps .name')].map(({ textContent }) => textContent).join() === wanted, names.join());
  };
  await rebuilds('sft.wdelta');
  await look('one.wdelta');
  await rebuilds('one.wdelta');
  // With those before it, where the links are known by now.
  await look('two.wdelta');
  await rebuilds('one.wdelta', 'two.wdelta');
  await look('one.wdelta');
  await driven.view('Inspect');
  await rebuilds('one.wdelta', 'two.wdelta');
  await driven.close();
});

test('a delta that was just made is the one that is looked at', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(path('sft.wdelta'), BASE, STEP1);
  await driven.view('Make');
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  await driven.view('Rebuild');
  await page.locator('.steps').getByText('ft-step1.wdelta').waitFor();
  assert.deepEqual(await steps(page), ['ft-step1.wdelta']);
  await driven.view('Inspect');
  await page.locator('.details h2').getByText('ft-step1.wdelta').waitFor();
  await driven.close();
});

test('links that are all checked are not offered to be checked, and a broken one says why once', async () => {
  const driven = await site.open({ path: '#lineage' });
  const { page } = driven;
  await driven.give(path('one.wdelta'), path('sft.wdelta'), SFT);
  const check = page.getByRole('button', { name: /^Check the links/ });
  await check.click();
  await page.getByText('2 deltas; links: 2 broken.').waitFor();
  assert.equal(await check.count(), 0);
  const text = await page.locator('.chain').innerText();
  assert.match(text, /tensors have other values in the base: .*; none of these deltas gives its base either/);
  await driven.close();
});
