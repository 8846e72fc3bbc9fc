// How far a job says it is: by what its bytes cost, without jumps, up to the end.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { encode } from '../../pkg/node.js';
import { makeStages, rebuildStages, shareOf } from '../../www/js/model/pace.js';
import { start } from './browser.mjs';
import { sparseModel } from './models.mjs';

/** How far the share may be from that of the time. */
const OFF = 0.12;

/**
 * Measured in Chromium with a pair of 87 MB and one of 988 MB: what was planned, and moments as MB done and share of the time.
 * @type {[what: string, stages: import('../../www/js/model/pace.js').Stages, moments: [number, number][]][]}
 */
const MEASURED = [
  ['lossless, 87 MB', makeStages({ reads: 347.3e6, bytes: 18e6 }, 'lossless'), [[7.6, 0.24], [29.2, 0.4], [57.6, 0.67], [129, 0.81], [249, 1]]],
  ['lossless, 988 MB', makeStages({ reads: 3952.3e6, bytes: 208e6 }, 'lossless'), [[126, 0.13], [364, 0.39], [606.5, 0.65], [2790, 1]]],
  ['lossy, 87 MB', makeStages({ reads: 347.3e6, bytes: 6.3e6 }, 'lossy'), [[44.9, 0.33], [84.6, 0.66], [260, 1]]],
  ['int4, 87 MB', makeStages({ reads: 460e6, bytes: 25.9e6 }, 'int4'), [[86.8, 0.29], [266.8, 0.59], [460, 0.88], [485.8, 1]]],
  ['int4, 988 MB', makeStages({ reads: 5234.5e6, bytes: 294.2e6 }, 'int4'), [[996, 0.27], [2976, 0.53], [5234, 0.91], [5528, 1]]],
  ['sparse, 87 MB', makeStages({ reads: 486.3e6, bytes: 52.1e6 }, 'sparse'), [[86.8, 0.27], [262.6, 0.56], [486.2, 0.88], [538, 1]]],
  ['quantized, 87 MB', makeStages({ reads: 439.7e6, bytes: 5.5e6 }, 'quantized'), [[86.8, 0.43], [277.3, 0.75], [439.7, 0.97], [445, 1]]],
  ['rebuild of lossless, 87 MB', rebuildStages({ reads: 122.9e6, writes: 86.8e6, bytes: 86.8e6 }, 0, false), [[36.2, 0.26], [106, 0.53], [183.5, 0.86], [209.7, 1]]],
  ['rebuild of int4, 988 MB', rebuildStages({ reads: 2564e6, writes: 988e6, bytes: 988e6 }, 988e6, false), [[988, 0.34], [1614, 0.46], [1908, 0.5], [3552, 1]]],
];

test('the share of the work is near that of the time', () => {
  for (const [what, stages, moments] of MEASURED)
    for (const [done, time] of moments) {
      const share = shareOf(stages, done * 1e6);
      assert.ok(Math.abs(share - time) < OFF, `${what}: ${share} after ${done} MB, at ${time} of the time`);
    }
});

test('a share never falls, ends at 1, and counts a copy only where one is made', () => {
  for (const [, stages] of MEASURED) {
    const all = stages.reduce((sum, [bytes]) => sum + bytes, 0);
    const shares = Array.from({ length: 101 }, (_, i) => shareOf(stages, (all * i) / 100));
    assert.ok(shares.every((share, i) => i === 0 || share >= shares[i - 1]));
    assert.equal(shares[0], 0);
    assert.ok(Math.abs(shares[100] - 1) < 1e-9);
    assert.equal(shareOf(stages, 2 * all), shareOf(stages, all + 1));
  }
  const plan = { reads: 100e6, writes: 80e6, bytes: 80e6 };
  assert.ok(shareOf(rebuildStages(plan, 0, false), 180e6) > 0.999);
  assert.ok(shareOf(rebuildStages(plan, 0, true), 180e6) < 0.9);
  assert.equal(shareOf([[0, 1]], 0), 1);
});

let disk, site;
before(async () => {
  disk = await mkdtemp(join(tmpdir(), 'wdelta-progress-'));
  site = await start();
});
after(async () => {
  await site?.stop();
  await rm(disk, { recursive: true });
});

test('a rebuild into private storage goes up to its end without a jump', async () => {
  const [base, tuned, delta] = ['base.safetensors', 'tuned.safetensors', 'delta.wdelta'].map((name) => join(disk, name));
  await sparseModel(base, { layers: 6, side: 4096, seed: 1 });
  await sparseModel(tuned, { layers: 6, side: 4096, seed: 2 });
  await encode({ base, finetuned: tuned, output: delta, strategy: 'quantized' });
  const driven = await site.open({ path: '#rebuild' });
  const { page } = driven;
  await driven.give(base, delta);
  await page.locator('[data-key=start]:enabled').waitFor();
  await page.evaluate(() => {
    const bar = document.querySelector('.job-bar progress');
    globalThis.seen = [];
    new MutationObserver(() => bar.position >= 0 && globalThis.seen.push(bar.value)).observe(bar, { attributes: true });
  });
  await page.locator('[data-key=start]').click();
  await page.locator('[data-result]').waitFor({ timeout: 60_000 });
  const seen = await page.evaluate(() => globalThis.seen);
  assert.ok(seen.length > 5, `${seen.length} shares were seen`);
  const steps = seen.map((share, i) => share - (seen[i - 1] ?? 0));
  assert.ok(steps.every((step) => step >= 0), seen.join(' '));
  assert.ok(seen.at(-1) > 0.9, `the last share was ${seen.at(-1)}`);
  await driven.close();
});
