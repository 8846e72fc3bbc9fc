// Files that cannot be used: a line each, which says what is wrong and unfolds what to do; and those that do not fit each other.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import axe from '../../pkg-scripts/node_modules/axe-core/axe.js';
import { start } from './browser.mjs';

const DELTA = new URL('../../www/sample/docs.wdelta', import.meta.url);
/** Height of a line, in pixels. */
const LINE = 40;

let site, delta;
before(async () => {
  delta = await readFile(DELTA);
  site = await start();
});
after(() => site?.stop());

const named = (name, bytes) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(bytes) });
const bad = () => [
  named('notes.zip', 'PK\x03\x04 and more'),
  named('a model with a rather long name, quantized.gguf', 'GGUF and more'),
  named('cut-short.wdelta', delta.subarray(0, 700)),
];

for (const [width, theme] of /** @type {const} */ ([[1280, 'light'], [320, 'dark']])) {
  test(`several take a line each, and say all when unfolded, at ${width} px`, async () => {
    const driven = await site.open({ theme, size: { width, height: 640 }, script: axe.source });
    const { page } = driven;
    await driven.give(named('docs.wdelta', delta), ...bad());
    const lines = page.locator('.notice');
    await lines.nth(2).waitFor();
    const boxes = await lines.evaluateAll((all) => all.map((each) => each.getBoundingClientRect().toJSON()));
    for (const { height, right } of boxes) assert.ok(height <= LINE && right <= width, `${height} px high, to ${right}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    assert.match(await lines.first().innerText(), /notes\.zip.*Not a file for this page.*50 4B 03 04 \(ZIP\)/s);

    // By keyboard: the first line, unfolded, stays so while a file comes and another goes.
    await lines.first().locator('summary').focus();
    await page.keyboard.press('Enter');
    await lines.first().getByRole('button', { name: 'Choose again…' }).waitFor();
    const text = await lines.first().innerText();
    for (const part of [/Choose a \.wdelta file, or a model as \.safetensors\./, /Code\s+NOT_WDELTA/, /Copy details/]) assert.match(text, part);
    await driven.give(named('empty.wdelta', ''));
    await lines.nth(3).waitFor();
    await page.getByRole('button', { name: 'Remove cut-short.wdelta' }).click();
    await page.waitForFunction(() => document.querySelectorAll('.notice').length === 3);
    assert.deepEqual(await lines.locator('details').evaluateAll((all) => all.map(({ open }) => open)), [true, false, false]);

    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
    await driven.close();
  });
}

test('what is the only file is explained without being asked', async () => {
  const driven = await site.open();
  await driven.give(bad()[2]);
  const notice = driven.page.locator('.notice');
  await notice.getByRole('button', { name: 'Choose again…' }).waitFor();
  assert.match(await notice.innerText(), /cut-short\.wdelta.*The file ends too early.*get it again.*Offset\s+\d+.*TRUNCATED/s);
  await driven.close();
});

/** A safetensors file of one value for each name. */
function model(...names) {
  const header = JSON.stringify(Object.fromEntries(names.map((name, i) => [name, { dtype: 'F32', shape: [1], data_offsets: [4 * i, 4 * i + 4] }])));
  const bytes = Buffer.alloc(8 + header.length + 4 * names.length);
  bytes.writeBigUInt64LE(BigInt(header.length));
  bytes.write(header, 8);
  return bytes;
}

test('a model that is cut short, and an adapter, are told at once and take no role', async () => {
  const driven = await site.open();
  const { page } = driven;
  const whole = model('a.weight', 'b.weight');
  await driven.give(named('cut.safetensors', whole.subarray(0, -3)));
  assert.match(await driven.problem('TRUNCATED'), new RegExp(`The file ends too early.*${whole.length} B; it has ${whole.length - 3} B`, 's'));
  await driven.give(named('adapter_model.safetensors', model('base.a.lora_A.weight', 'base.a.lora_B.weight')));
  assert.match(await driven.problem('NOT_WDELTA'), /LoRA adapter/);
  await driven.give(named('whole.safetensors', whole));
  assert.deepEqual(await page.locator('.chip .role').evaluateAll((all) => all.map((each) => each.value ?? each.textContent)), ['not usable', 'not usable', 'base']);
  await driven.close();
});

test('Compare says how many tensors have a partner before it says how far they are apart', async () => {
  const driven = await site.open({ path: '#compare' });
  const { page } = driven;
  await driven.give(named('a.safetensors', model('same', 'old.1', 'old.2')), named('b.safetensors', model('same', 'new.1', 'new.2')));
  await page.getByRole('button', { name: /^Measure similarity/ }).click();
  const facts = page.locator('.summary dl');
  await facts.waitFor();
  assert.equal(await page.getByLabel('Measure', { exact: true }).inputValue(), 'apart');
  assert.match(await facts.innerText(), /^In both\s+1 of 3\stensors\s+compared by name; renamed ones are not found\s+Only in A\s+2\s+Only in B\s+2\s+Distance/);
  await driven.close();
});
