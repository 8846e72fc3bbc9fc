// Inspect: what the file says of tensors that did not change, and a table that stands still while it fills.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { encode, inspect } from '../../pkg/node.js';
import { writeModel } from '../../pkg-scripts/lib/safetensors.mjs';
import { percent } from '../../www/js/format.js';
import { start } from './browser.mjs';

/** Tensors of the models; norms are the same in both. */
const NAMES = Array.from({ length: 4 }, (_, i) => [`layers.${i}.mlp.up_proj.weight`, `layers.${i}.input_norm.weight`]).flat();

/** @param {number} change */
function model(change) {
  const tensors = NAMES.map((name, at) => {
    const values = Float32Array.from({ length: 16 * 64 }, (_, i) => Math.sin(i + at) + (/norm/.test(name) ? 0 : change * Math.cos(3 * i)));
    return [name, { dtype: 'F32', shape: [16, 64], bytes: Buffer.from(values.buffer) }];
  });
  return writeModel(new Map(tensors));
}

const [base, finetuned] = [model(0), model(0.01)];
const named = (name, bytes) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(bytes) });
const delta = async (strategy) => named(`${strategy}.wdelta`, (await encode({ base, finetuned, strategy })).data);

let site;
before(async () => (site = await start()));
after(() => site?.stop());

const rows = (page) => page.locator('.tensors tbody tr[aria-rowindex]');
const measures = (page) => page.locator('select[aria-label=Measure] option').allTextContents();

for (const strategy of ['int4', 'sparse', 'quantized', 'lossless']) {
  test(`tensors that ${strategy} did not change are called so`, async () => {
    const driven = await site.open();
    const { page } = driven;
    await driven.give(await delta(strategy));
    const norm = rows(page).filter({ hasText: 'input_norm' });
    await norm.nth(3).waitFor();
    for (const text of await norm.allInnerTexts()) assert.match(text, /\tunchanged\t/);
    for (const text of await rows(page).filter({ hasText: 'up_proj' }).allInnerTexts()) assert.doesNotMatch(text, /unchanged/);
    await norm.first().click();
    await page.locator('.details dd', { hasText: /^unchanged$/ }).waitFor();
    // Its values need the base with version 2; where they are known, there is nothing to draw.
    if (strategy !== 'lossless') await page.locator('.details dt').getByText('RMS', { exact: true }).waitFor();
    assert.equal(await page.locator('.details .chart').count(), 0);
    await page.locator('#filter').fill('unchanged');
    await page.locator('[role=status]').getByText('4 of 8').waitFor();
    await driven.close();
  });
}

test('what a delta of version 1 leaves unchanged is not said to be spoilt', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(named('base.safetensors', base), named('tuned.safetensors', finetuned));
  await page.getByRole('radio', { name: /^int4/ }).check();
  // Half of the tensors did not change and take less than shapes say.
  await page.locator('.option .size').getByText(/^≤ /).first().waitFor();
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  const saved = page.locator('.saved');
  assert.match(await saved.innerText(), /Unchanged tensors\s+4\s+Stored otherwise\s+none/);
  // The table of Inspect has what every tensor lost.
  await page.getByRole('button', { name: 'See the error per tensor' }).click();
  await rows(page).nth(7).waitFor();
  assert.equal(await page.locator('select[aria-label=Measure]').inputValue(), 'error');
  for (const text of await rows(page).allInnerTexts()) assert.match(text, /norm/.test(text) ? /\tunchanged\t.*\t0\s%$/ : /\tint4\t.*\t[\d.]+\s%$/);
  await driven.close();
});

test('the share of outliers is offered where there are outliers', async () => {
  for (const [strategy, offered] of /** @type {const} */ ([['int4', true], ['sparse', false], ['lossless', false]])) {
    const driven = await site.open();
    await driven.give(await delta(strategy));
    assert.equal((await measures(driven.page)).includes('Outlier share'), offered, strategy);
    await driven.page.getByRole('button', { name: 'Columns' }).click();
    assert.equal(await driven.page.locator('#columns').getByText('Outlier share').count(), offered ? 1 : 0, strategy);
    await driven.close();
  }
});

test('measuring moves nothing in the table', async () => {
  for (const [size, strategy] of /** @type {const} */ ([[1280, 'int4'], [1280, 'lossless'], [320, 'int4']])) {
    const driven = await site.open({ size: { width: size, height: 800 } });
    const { page } = driven;
    await driven.give(await delta(strategy), named('base.safetensors', base));
    await rows(page).nth(7).waitFor();
    const edges = () =>
      page.locator('.tensors thead th').evaluateAll((all) => all.map((each) => [each.textContent, each.getBoundingClientRect().left, each.clientWidth]));
    const before = await edges();
    const changed = rows(page).filter({ hasText: 'up_proj' });
    await changed.first().click();
    await page.locator('.details dt').getByText('RMS', { exact: true }).waitFor();
    assert.deepEqual(await edges(), before, `${strategy} at ${size}`);
    if (size > 1000) assert.match(await changed.first().innerText(), /\d(e−\d)?(\t|$)/);
    await page.locator('select[aria-label=Measure]').selectOption('rms');
    await page.locator('button[data-key=measure]').click();
    await page.getByText('measured', { exact: true }).waitFor();
    assert.deepEqual(await edges(), before, `${strategy} at ${size}`);
    await driven.close();
  }
});

test('every block of a large tensor can be looked at, and the last row is the last', async () => {
  // More than one block, and more rows than are drawn one by one, in groups that do not come out even.
  const shape = [1500, 800];
  const side = (/** @type {number} */ change) => {
    const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i) + change * Math.cos(3 * i));
    return writeModel(new Map([['wide.weight', { dtype: 'F32', shape, bytes: Buffer.from(values.buffer) }]]));
  };
  const [plain, tuned] = [side(0), side(0.01)];
  const driven = await site.open();
  const { page } = driven;
  await driven.give(named('wide.wdelta', (await encode({ base: plain, finetuned: tuned, strategy: 'lossless' })).data), named('base.safetensors', plain));
  await rows(page).first().click();
  const records = page.locator('.records');
  await records.locator('select').waitFor();
  const blocks = await records.locator('option').allTextContents();
  assert.match(blocks.at(-1), /^block (\d+) of \1$/);
  const seen = new Set();
  for (const label of blocks) {
    await records.locator('select').selectOption({ label });
    await records.locator('.hex:not([aria-busy])').waitFor();
    seen.add(await records.locator('p').innerText());
  }
  assert.equal(seen.size, blocks.length);
  await page.locator('.details').getByText('row 1,499', { exact: true }).waitFor();
  // Each chart names its highest bar.
  const told = await page.locator('.details figure output').allInnerTexts();
  assert.match(told[0], /^highest in −?[\d.e−]+ … −?[\d.e−]+: [\d,]+$/);
  assert.match(told[1], /^highest in rows [\d,]+ to [\d,]+: 0\.007\d+$/);
  // The details are drawn anew, as when a measurement ends.
  await page.keyboard.press('Escape');
  await records.waitFor({ state: 'detached' });
  await rows(page).first().click();
  await records.waitFor();
  assert.equal(await records.locator('select').evaluate((select) => select.selectedOptions[0].text), blocks.at(-1));
  await driven.close();
});

test('what changed is measured from the first picture on, and shown', async () => {
  for (const [strategy, first] of [['lossless', 'bits'], ['int4', 'bytes']]) {
    const driven = await site.open();
    const { page } = driven;
    const shown = page.locator('select[aria-label=Measure]');
    await driven.give(await delta(strategy));
    // Version 1 has as many bits for everything; there sizes tell more.
    assert.equal(await shown.inputValue(), first);
    if (strategy === 'lossless') await page.getByRole('button', { name: 'Open base to measure…' }).waitFor();
    await driven.give(named('base.safetensors', base));
    await page.getByRole('button', { name: /^Measure all changes, reads/ }).click();
    await page.getByText('measured', { exact: true }).waitFor();
    assert.equal(await shown.inputValue(), 'rms');
    // Where the base is open, changes are relative to it.
    const relative = await rows(page).evaluateAll((all) => all.map((row) => row.lastElementChild?.textContent));
    for (const [i, text] of relative.entries()) assert.match(text, i % 2 ? /^[1-9][\d.]+\u00a0%$/ : /^0\u00a0%$/);
    // The way leads no further from there.
    await shown.selectOption('bytes');
    await page.getByRole('button', { name: /^Measure all/ }).waitFor({ state: 'detached' });
    await driven.close();
  }
});

test('what is new or was zero is relative to nothing, and the rest is still said to be measured', async () => {
  const values = (/** @type {(i: number) => number} */ of) => ({ dtype: 'F32', shape: [16, 16], bytes: Buffer.from(Float32Array.from({ length: 256 }, (_, i) => of(i)).buffer) });
  const plain = writeModel(new Map([['layers.0.up.weight', values(Math.sin)], ['layers.0.up.zero', values(() => 0)]]));
  const tuned = writeModel(
    new Map([['head.weight', values(Math.cos)], ['layers.0.up.weight', values((i) => Math.sin(i) * 1.5)], ['layers.0.up.zero', values((i) => Math.sin(i) / 100)]]),
  );
  const driven = await site.open();
  const { page } = driven;
  await driven.give(named('head.wdelta', (await encode({ base: plain, finetuned: tuned })).data), named('base.safetensors', plain));
  await page.locator('select[aria-label=Measure]').selectOption('relative');
  await page.locator('button[data-key=measure]').click();
  await page.getByText('measured', { exact: true }).waitFor();
  const last = await rows(page).evaluateAll((all) => all.map((row) => row.lastElementChild?.textContent));
  assert.deepEqual(last, ['–', '50.0\u00a0%', '–']);
  await driven.close();
});

test('version 1, which needs no base, is measured beside another one too', async () => {
  const driven = await site.open();
  const { page } = driven;
  const other = writeModel(new Map([['other.weight', { dtype: 'F32', shape: [4], bytes: Buffer.alloc(16) }]]));
  await driven.give(await delta('int4'), named('base.safetensors', other));
  await page.getByRole('button', { name: /^Measure all changes, reads/ }).click();
  await page.getByText('measured', { exact: true }).waitFor();
  await driven.close();
});

test('a cell is one from its first frame on', async () => {
  const driven = await site.open({
    script: `new MutationObserver(() => (globalThis.bare ||= document.querySelector('.map button:not(.cell)'))).observe(document, { subtree: true, childList: true })`,
  });
  await driven.give(await delta('lossless'));
  await rows(driven.page).first().waitFor();
  assert.ok(!(await driven.page.evaluate(() => Boolean(/** @type {any} */ (globalThis).bare))));
  await driven.close();
});

test('the only remark is told where remarks are counted', async () => {
  const driven = await site.open();
  await driven.give(await delta('lossless'));
  assert.equal(await driven.page.locator('.findings-panel summary').innerText(), "Remarks 4 of 8 tensors are the base's own.");
  await driven.close();
});

test('over depth, what did not change has no largest layer', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(await delta('int4'));
  await page.locator('button[data-key=measure]').click();
  await page.getByText('measured', { exact: true }).waitFor();
  await page.getByText('Depth', { exact: true }).click();
  await page.locator('.depth tbody tr').nth(1).waitFor();
  const largest = await page.locator('.depth tbody tr').evaluateAll((all) => all.map((row) => row.lastElementChild?.textContent));
  assert.match(largest[0] ?? '', /^0\.\d+ · layer \d$/);
  assert.equal(largest[1], '0');
  await driven.close();
});

test('what bytes buy is told where two deltas are compared', async () => {
  const of = async (/** @type {number} */ quality) => (await encode({ base, finetuned, strategy: 'lossy', quality })).data;
  const [rough, fine] = await Promise.all([of(30), of(80)]);
  const told = await Promise.all([rough, fine].map(async (data) => percent((await inspect(data)).loss?.relativeError ?? 0)));
  const driven = await site.open();
  const { page } = driven;
  await driven.give(named('rough.wdelta', rough), named('fine.wdelta', fine));
  await driven.view('Compare');
  assert.match((await page.locator('.summary').innerText()).replaceAll('\u00a0', ' '), new RegExp(`Error of the delta\\s+${told.join(', ').replaceAll('\u00a0', ' ')}`));
  await driven.close();
});

test('a table is saved under the name of what it is of', async () => {
  const driven = await site.open();
  await driven.give(await delta('int4'));
  const { name, bytes } = await driven.download('Export as CSV');
  assert.match(name, /\.wdelta\.csv$/);
  assert.match(bytes.toString(), /^name,shape,/);
  await driven.close();
});

test('what is copied and saved of the table is whole names and plain words', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await driven.give(await delta('int4'), await delta('lossless'));
  await page.locator('.tensors tbody tr').nth(3).waitFor();
  await page.evaluate(() => {
    const [, first, second] = document.querySelectorAll('.tensors tbody tr');
    getSelection()?.setBaseAndExtent(first, 0, second, second.childNodes.length);
  });
  await page.keyboard.press('Control+c');
  const lines = (await page.evaluate(() => navigator.clipboard.readText())).trim().split('\n');
  assert.equal(lines.length, 2);
  for (const line of lines) assert.match(line, /^layers\.[01]\.[a-z_.]+\t\d+ × /);
  await page.locator('.chip button').last().focus();
  const { bytes } = await driven.download('Export as CSV');
  assert.doesNotMatch(bytes.toString(), /,[A-Z_]{4,}\b/);
  await driven.close();
});

test('each view goes on to show what was chosen in it', async () => {
  const driven = await site.open();
  const { page } = driven;
  const shown = () => page.locator('select[aria-label=Measure]').inputValue();
  await driven.give(await delta('int4'), await delta('sparse'));
  await page.getByRole('button', { name: /^Measure all/ }).click();
  await page.getByText('measured', { exact: true }).waitFor();
  await driven.view('Compare');
  assert.equal(await shown(), 'bytes');
  await page.getByRole('button', { name: /^Measure similarity/ }).click();
  await page.getByText('Furthest apart').waitFor();
  assert.equal(await shown(), 'apart');
  await driven.view('Inspect');
  assert.equal(await shown(), 'rms');
  await driven.close();
});

test('on paper there is one theme', async () => {
  const driven = await site.open({ theme: 'dark' });
  const { page } = driven;
  await page.getByRole('button', { name: 'Colours: auto. Change to light' }).click();
  await page.getByRole('button', { name: 'Colours: light. Change to dark' }).click();
  await page.locator('html[data-theme=dark]').waitFor();
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
  assert.equal(await ground(), 'dark');
  await page.emulateMedia({ media: 'print' });
  assert.equal(await ground(), 'light');
  await driven.close();
});

test('what two deltas leave alone is 0 % apart, and not unknown', async () => {
  const of = async (/** @type {number} */ quality) => (await encode({ base, finetuned, strategy: 'lossy', quality })).data;
  const driven = await site.open();
  const { page } = driven;
  await driven.give(named('rough.wdelta', await of(30)), named('fine.wdelta', await of(80)), named('base.safetensors', base));
  await driven.view('Compare');
  await page.getByRole('button', { name: /^Measure similarity/ }).click();
  await page.getByText('Furthest apart').waitFor();
  await page.locator('.legend').getByText('8 of 8').waitFor();
  for (const text of await rows(page).filter({ hasText: 'input_norm' }).allInnerTexts()) assert.match(text, /\t0\t1\.00$/);
  await driven.close();
});

test('Rebuild tells what it has checked, and what is no more than close', async () => {
  for (const [strategy, close] of [['lossless', 0], ['lossy', 1], ['int4', 1]]) {
    const file = await delta(strategy);
    const driven = await site.open({ path: '#rebuild' });
    const { page } = driven;
    await driven.give(file, named('base.safetensors', base));
    await page.locator('[data-key=start]:enabled').waitFor();
    assert.equal(await page.getByText('The result is close to the fine-tune, not equal to it.').count(), close, strategy);
    await page.locator('[data-key=start]').click();
    await page.locator('[data-result]').waitFor();
    const { baseHash } = await inspect(file.buffer);
    await page.locator('.saved dd code').getByText(baseHash.slice(0, 12), { exact: true }).waitFor();
    await driven.close();
  }
});

test('what is new in a fine-tune is not said to be in the base', async () => {
  const head = writeModel(new Map([['head.weight', { dtype: 'F32', shape: [4, 4], bytes: Buffer.alloc(64, 1) }]]));
  const driven = await site.open({ path: '#rebuild' });
  await driven.give(named('head.wdelta', (await encode({ base, finetuned: head, strategy: 'lossless' })).data), named('base.safetensors', base));
  await driven.page.locator('.preflight').getByText(/are in the base or the delta/).waitFor();
  await driven.close();
});

test('of a wrong base it is said once what to open, and how', async () => {
  const other = named('other.safetensors', model(0.5));
  const driven = await site.open({ path: '#lineage' });
  const { page } = driven;
  await driven.give(await delta('lossless'), other);
  await page.getByRole('button', { name: /^Check the links/ }).click();
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Open the delta before it, or its base…' }).click();
  await chooser;
  await driven.close();

  const fresh = await site.open();
  await fresh.give(await delta('lossless'), other);
  await fresh.page.getByRole('button', { name: 'Check file and base' }).click();
  const text = await fresh.problem('WRONG_BASE');
  assert.match(text, /4 of 8 tensors differ.*If the delta continues a chain, open the deltas before it\./s);
  assert.doesNotMatch(text, /give/);
  await fresh.close();
});

test('the picture starts in the upper part of a window of twice the size, and fits a narrow one', async () => {
  const file = await delta('lossless');
  const large = await site.open({ size: { width: 720, height: 450 } });
  await large.give(file);
  const top = await large.page.locator('.map').evaluate((map) => map.getBoundingClientRect().top);
  assert.ok(top < 250, `at ${top} px`);
  await large.close();

  const tensor = { dtype: 'F32', shape: [16, 64], bytes: Buffer.alloc(4096) };
  const long = (/** @type {number} */ value) => writeModel(new Map([0, 1].map((i) => [`encoder.layer.${i}.crossattention_output_intermediate.dense_projection.weight`, { ...tensor, bytes: Buffer.alloc(4096, value) }])));
  const narrow = await site.open({ size: { width: 320, height: 640 } });
  const { page } = narrow;
  await narrow.give(named('long.wdelta', (await encode({ base: long(1), finetuned: long(2), strategy: 'lossless' })).data));
  await page.locator('[data-key="Picture depth"]').click();
  await page.locator('.depth').waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await narrow.close();
});
