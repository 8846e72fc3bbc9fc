// Cancel while a model is rebuilt or a delta is made: answered at once, and nothing is left in the browser's storage.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { encode } from '../../pkg/node.js';
import { writeModel } from '../../pkg-scripts/lib/safetensors.mjs';
import { start } from './browser.mjs';

/** Milliseconds from the press to the page saying so. */
const ANSWER = 100;
/** Milliseconds from the press to the last file gone. */
const GONE = 1000;

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

/** Presses start, then Cancel when that share of the work is done; gives how long the page took to say so and to be clean. */
function cancelAt(page, share) {
  return page.evaluate(async (share) => {
    const frame = () => new Promise((done) => setTimeout(done, 1));
    const count = async (folder) => {
      let found = 0;
      for await (const handle of folder.values()) found += handle.kind === 'directory' ? await count(handle) : 1;
      return found;
    };
    // A folder that goes while it is counted is counted again.
    const files = async () => {
      for (;;) {
        try {
          return await count(await navigator.storage.getDirectory());
        } catch (error) {
          if (error.name !== 'NotFoundError') throw error;
        }
      }
    };
    document.querySelector('[data-key="start"]').click();
    const bar = document.querySelector('.job-bar');
    const progress = bar.querySelector('progress');
    while (bar.hidden) await frame();
    while (progress.value < share && !bar.hidden) await frame();
    if (bar.hidden) throw new Error('the job ended before it could be cancelled');
    const before = await files();
    const pressed = performance.now();
    bar.querySelector('[data-key="cancel"]').click();
    while (!bar.hidden && !/cancelling/.test(bar.textContent)) await frame();
    const answered = performance.now() - pressed;
    while (!bar.hidden || (await files()) > 0) {
      if (performance.now() - pressed > 10_000) break;
      await frame();
    }
    return { before, answered, gone: performance.now() - pressed, left: await files() };
  }, share);
}

for (const { view, files } of [
  { view: 'Rebuild', files: ['base.safetensors', 'chat.wdelta'] },
  { view: 'Make', files: ['base.safetensors', 'finetuned.safetensors'] },
]) {
  test(`cancelling ${view} at any moment leaves no file`, async () => {
    const driven = await site.open({ path: `#${view.toLowerCase()}` });
    await driven.give(...files.map(path));
    // The total of a lossless delta is a guess, which a share of it may never reach.
    if (view === 'Make') await driven.page.getByRole('radio', { name: /^quantized/ }).check();
    for (const share of [0, 0.2, 0.6]) {
      await driven.page.locator('[data-key="start"]:enabled').waitFor();
      const { before, answered, gone, left } = await cancelAt(driven.page, share);
      assert.ok(before > 0, `at ${share} a file was being written`);
      assert.equal(left, 0, `at ${share} files are left`);
      assert.ok(answered < ANSWER, `at ${share} the answer took ${answered} ms`);
      assert.ok(gone < GONE, `at ${share} the files were gone after ${gone} ms`);
      await driven.problem('ABORTED');
    }
    // Afterwards the same job runs to its end.
    await driven.page.locator('[data-key="start"]:enabled').click();
    await driven.page.locator('[data-result]').waitFor();
    assert.equal(Object.keys(await driven.privateFiles()).length, 1);
    await driven.close();
  });
}
