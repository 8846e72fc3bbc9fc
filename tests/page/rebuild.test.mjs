// Large models rebuilt in the page: the bytes that Node writes, bounded memory, and cancel at any moment.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { decode, encode } from '../../pkg/node.js';
import { start } from './browser.mjs';
import { cancelAt } from './cancelling.mjs';
import { sparseModel } from './models.mjs';

/** Memory that the renderer may hold more of with 1 GB than with 100 MB, in bytes. */
const GROWTH = 100e6;
/** Memory that the package may count, in bytes. */
const COUNTED = 200e6;

let disk, site;
const at = (name) => join(disk, name);

before(async () => {
  disk = await mkdtemp(join(tmpdir(), 'wdelta-rebuild-'));
  site = await start();
});

after(async () => {
  await site?.stop();
  await rm(disk, { recursive: true });
});

async function sha256(path) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

/** A base, a delta, and the hash of the model that Node rebuilds of them. */
async function pair(name, shape) {
  const [base, tuned, delta, rebuilt] = ['base.safetensors', 'tuned.safetensors', 'delta.wdelta', 'node.safetensors'].map((end) => at(`${name}-${end}`));
  await sparseModel(base, { ...shape, seed: 1 });
  await sparseModel(tuned, { ...shape, seed: 2 });
  await encode({ base, finetuned: tuned, output: delta, strategy: 'quantized' });
  await decode({ base, deltas: [delta], output: rebuilt });
  const hash = await sha256(rebuilt);
  await Promise.all([rm(tuned), rm(rebuilt)]);
  return { base, delta, hash };
}

/** Watches the memory of the browser's renderers, apart from files that the system caches. @returns ends it and gives the most, in bytes */
async function watchMemory(browser) {
  const session = await browser.newBrowserCDPSession();
  let most = 0;
  let watching = true;
  const loop = (async () => {
    while (watching) {
      const { processInfo } = await session.send('SystemInfo.getProcessInfo');
      const held = await Promise.all(
        processInfo
          .filter(({ type }) => type === 'renderer')
          .map(async ({ id }) => {
            const status = await readFile(`/proc/${id}/status`, 'utf8').catch(() => '');
            return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
          }),
      );
      most = Math.max(most, held.reduce((sum, bytes) => sum + bytes, 0));
    }
  })();
  return async () => {
    watching = false;
    await loop;
    await session.detach();
    return most;
  };
}

/** @returns {Promise<{ memory: number, counted: number }>} the most of the renderer's memory, and of what the job bar says of it */
async function rebuild({ base, delta, hash }) {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(base, delta);
  await driven.view('Rebuild');
  await page.locator('[data-key=start]:enabled').waitFor();
  await page.evaluate(() => {
    globalThis.counted = 0;
    const bar = document.querySelector('.job-bar');
    const note = () => {
      const [, value, unit] = /memory ([\d.]+)\s([kMG]?B)/.exec(bar.textContent) ?? [0, 0, 'B'];
      globalThis.counted = Math.max(globalThis.counted, value * { B: 1, kB: 1e3, MB: 1e6, GB: 1e9 }[unit]);
    };
    new MutationObserver(note).observe(bar, { subtree: true, childList: true, characterData: true });
  });
  const stop = await watchMemory(driven.context.browser());
  await page.locator('[data-key=start]').click();
  await page.getByText('Model rebuilt and checked').waitFor({ timeout: 120_000 });
  const memory = await stop();
  const counted = await page.evaluate(() => globalThis.counted);
  const started = page.waitForEvent('download');
  await page.locator('[data-key^="save "]').click();
  const path = await (await started).path();
  assert.equal(await sha256(path), hash);
  await driven.close();
  return { memory, counted };
}

/** What the renderer held, by model. */
const held = {};

test('models of 100 MB and of 1 GB are rebuilt to the bytes that Node writes', async (t) => {
  for (const [name, layers] of [
    ['small', 3],
    ['large', 32],
  ]) {
    const { memory, counted } = await rebuild(await pair(name, { layers, side: 4096 }));
    held[name] = memory;
    t.diagnostic(`${name}: renderer ${Math.round(memory / 1e6)} MB, counted ${Math.round(counted / 1e6)} MB`);
    assert.ok(counted > 1e6 && counted <= COUNTED, `${counted} bytes`);
  }
});

test('the larger one takes at most 100 MB more', () => {
  assert.ok(held.large <= held.small + GROWTH, `${held.small} and ${held.large} bytes`);
});

test('cancel at any moment leaves no file', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(at('large-base.safetensors'), at('large-delta.wdelta'));
  await driven.view('Rebuild');
  for (const share of [0, 0.15, 0.3, 0.45, 0.6]) {
    await page.locator('[data-key=start]:enabled').waitFor();
    const { left } = await cancelAt(page, { share });
    assert.equal(left, 0, `files are left at ${share}`);
    await page.getByText('Rebuild was cancelled').waitFor();
  }
  assert.deepEqual(await driven.privateFiles(), {});
  await driven.close();
});
