// Cancel while a model is rebuilt or a delta is made: nothing is left in the browser's storage. How soon is asked in responsive.test.mjs.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { encode } from '../../pkg/node.js';
import { writeModel } from '../../pkg-scripts/lib/safetensors.mjs';
import { start } from './browser.mjs';
import { cancelAt } from './cancelling.mjs';

let folder, site;
const path = (name) => join(folder, name);

/** A model of 64 MB in tensors of 4 MB. @param {number} add */
function large(add) {
  const values = new Float32Array(1 << 20);
  for (let i = 0; i < values.length; i++) values[i] = Math.sin(i) + add * Math.cos(7 * i);
  const bytes = Buffer.from(values.buffer);
  const tensor = { dtype: 'F32', shape: [1024, 1024], bytes };
  return writeModel(new Map(Array.from({ length: 16 }, (_, i) => [`model.layers.${i}.mlp.up_proj.weight`, tensor])));
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-cancel-'));
  await writeFile(path('base.safetensors'), large(0));
  await writeFile(path('finetuned.safetensors'), large(0.01));
  const [base, finetuned] = ['base', 'finetuned'].map((name) => path(`${name}.safetensors`));
  await encode({ base, finetuned, strategy: 'quantized', output: path('chat.wdelta') });
  site = await start();
});

after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

/**
 * Cancels once, and checks what Cancel promises.
 * @param {Awaited<ReturnType<typeof site.open>>} driven
 * @param {{ share?: number, after?: number }} moment
 * @param {string} when in words
 */
async function promise(driven, moment, when) {
  await driven.page.locator('[data-key="start"]:enabled').waitFor();
  const { before, left } = await cancelAt(driven.page, moment);
  assert.ok(before > 0, `${when} a file was being written`);
  assert.equal(left, 0, `${when} files are left`);
  await driven.problem('ABORTED');
}

for (const { view, files } of [
  { view: 'Rebuild', files: ['base.safetensors', 'chat.wdelta'] },
  { view: 'Make', files: ['base.safetensors', 'finetuned.safetensors'] },
]) {
  test(`cancelling ${view} at any moment leaves no file`, async () => {
    const driven = await site.open({ path: `#${view.toLowerCase()}` });
    await driven.give(...files.map(path));
    // The total of a lossless delta is not known beforehand, so that a share of it may never be reached.
    if (view === 'Make') await driven.page.getByRole('radio', { name: /^quantized/ }).check();
    for (const share of [0, 0.2, 0.6]) await promise(driven, { share }, `at ${share}`);
    // Afterwards the same job runs to its end.
    await driven.page.locator('[data-key="start"]:enabled').click();
    await driven.page.locator('[data-result]').waitFor();
    assert.equal(Object.keys(await driven.privateFiles()).length, 1);
    await driven.close();
  });
}

test('a reload in the middle of Rebuild or Make leaves nothing that is offered', async () => {
  for (const [view, other] of [['Rebuild', 'chat.wdelta'], ['Make', 'finetuned.safetensors']]) {
    const driven = await site.open({ path: `#${view.toLowerCase()}` });
    const { page } = driven;
    page.on('dialog', (dialog) => dialog.accept());
    await driven.give(path('base.safetensors'), path(other));
    await page.getByRole('radio', { name: /^Private storage/ }).check();
    await page.locator('[data-key="start"]:enabled').click();
    await page.waitForFunction(() => Number(document.querySelector('.job-bar progress')?.value) > 0.1);
    await page.reload();
    await page.locator('html[data-ready]').waitFor();
    // By then it has looked at the storage.
    await page.waitForTimeout(500);
    assert.equal(await page.locator('[aria-label="Private copies"]').count(), 0, view);
    // The browser lets go of what the old page held when it pleases.
    await page.waitForTimeout(1000);
    await page.reload();
    await page.locator('html[data-ready]').waitFor();
    await page.waitForTimeout(1000);
    assert.deepEqual(await driven.privateFiles(), {}, view);
    await driven.close();
  }
});

test('cancelling a lossless Make at random moments leaves no file', async (t) => {
  const seed = Date.now() % 2 ** 31;
  t.diagnostic(`seed ${seed}`);
  let x = seed;
  const random = () => (x = (Math.imul(x, 48271) >>> 0) % 2147483647) / 2147483647;
  const driven = await site.open({ path: '#make' });
  await driven.give(...['base.safetensors', 'finetuned.safetensors'].map(path));
  await driven.page.getByRole('radio', { name: /^lossless/ }).check();
  await driven.page.locator('[data-key="start"]:enabled').waitFor();
  const { page } = driven;
  /** Throws a result away; gives how long it took. */
  const drop = async () => {
    await page.getByRole('button', { name: 'Delete private copy' }).waitFor({ timeout: 120_000 });
    await page.getByRole('button', { name: 'Delete private copy' }).click();
    await page.getByRole('button', { name: 'Delete private copy' }).waitFor({ state: 'detached' });
  };
  const began = performance.now();
  await page.locator('[data-key="start"]').click();
  await drop();
  const whole = performance.now() - began;
  let cancelled = 0;
  for (let tries = 0; tries < 20 && cancelled < 6; tries++) {
    const after = Math.floor(random() * 0.7 * whole);
    try {
      await promise(driven, { after }, `after ${after} of ${whole.toFixed()} ms`);
      cancelled++;
    } catch (error) {
      // A job may be done sooner than the one before: then there was nothing to cancel.
      if (!/ended before/.test(error.message)) throw error;
      await drop();
    }
  }
  assert.equal(cancelled, 6);
  await driven.close();
});
