// The page in Firefox, through WebDriver BiDi: inspect, sample, rebuild, make, cancel.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { firefoxPath, launchFirefox } from '../../pkg-scripts/lib/browser.mjs';
import { serve } from '../../pkg-scripts/serve.mjs';
import { decode, encode } from '../../pkg/node.js';
import { DATA } from './data.mjs';
import { sparseModel } from './models.mjs';

const skip = firefoxPath() ? false : 'no Firefox here';
const model = (name) => fileURLToPath(new URL(`${name}.safetensors`, DATA));
const delta = fileURLToPath(new URL('../../www/sample/docs-int4.wdelta', import.meta.url));

let disk, downloads, site, browser;

before(async () => {
  if (skip) return;
  disk = await mkdtemp(join(tmpdir(), 'wdelta-firefox-'));
  downloads = join(disk, 'downloads');
  await mkdir(downloads);
  site = await serve();
  browser = await launchFirefox({
    'browser.download.folderList': 2,
    'browser.download.dir': downloads,
    'browser.download.useDownloadDir': true,
  });
});
after(async () => {
  await browser?.close();
  await site?.close();
  if (disk) await rm(disk, { recursive: true });
});

async function open() {
  const page = await browser.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(site.url);
  await page.waitForSelector('html[data-ready]');
  return {
    page,
    async leave() {
      await page.close();
      assert.deepEqual(errors, []);
    },
  };
}

/** Firefox has no picker for files: the page makes an input, and the test keeps its dialog from opening. */
async function give(page, ...paths) {
  await page.evaluate(() => {
    HTMLInputElement.prototype.click = function () {
      this.id = 'taken';
      document.body.append(this);
    };
    /** @type {HTMLElement} */ (document.querySelector('header .open button')).click();
  });
  await (await page.waitForSelector('#taken')).uploadFile(...paths);
  await page.waitForFunction((n) => document.querySelectorAll('.chip').length === n && !document.querySelector('.chip[aria-busy=true]'), {}, paths.length);
  await page.evaluate(() => document.querySelector('#taken')?.remove());
}

async function press(page, selector) {
  await page.waitForSelector(selector);
  await page.evaluate((wanted) => document.querySelector(wanted).click(), selector);
}

/** Runs the job of the view and gives the bytes that the download brings. */
async function run(page, name) {
  await press(page, '[data-key=start]:enabled');
  await page.waitForSelector('[data-result]', { timeout: 60_000 });
  await press(page, '[data-key^="save "]');
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    const names = await readdir(downloads);
    const bytes = names.includes(name) && !names.some((other) => other.endsWith('.part')) ? await readFile(join(downloads, name)) : null;
    if (bytes?.length) return bytes;
  }
  return assert.fail(`${name} was not downloaded`);
}

test('inspect, rebuild and make give the bytes of Node', { skip }, async () => {
  const { page, leave } = await open();
  await give(page, delta, model('base'), model('ft-sft'));
  await page.waitForSelector('.tensors tbody tr');
  await press(page, '[data-key="tab rebuild"]');
  const rebuilt = await decode({ base: model('base'), deltas: [delta] });
  assert.ok((await run(page, 'docs-int4.safetensors')).equals(Buffer.from(rebuilt.data)));
  await press(page, '[data-key="tab make"]');
  const made = await encode({ base: model('base'), finetuned: model('ft-sft') });
  assert.ok((await run(page, 'ft-sft.wdelta')).equals(Buffer.from(made.data)));
  await leave();
});

test('the sample writes', { skip }, async () => {
  const { page, leave } = await open();
  await page.evaluate(() => [...document.querySelectorAll('button')].find(({ textContent }) => /Try the sample/.test(textContent ?? ''))?.click());
  await page.waitForSelector('.tensors tbody tr');
  await press(page, '[data-key="tab rebuild"]');
  await press(page, '[data-key=generate]:enabled');
  await page.waitForFunction(() => /then apart|wrote the same/.test(document.querySelector('.try')?.textContent ?? ''));
  await leave();
});

test('cancel leaves no file', { skip }, async () => {
  const [base, tuned, output] = ['base.safetensors', 'tuned.safetensors', 'delta.wdelta'].map((name) => join(disk, name));
  await sparseModel(base, { layers: 16, side: 2048, seed: 1 });
  await sparseModel(tuned, { layers: 16, side: 2048, seed: 2 });
  await encode({ base, finetuned: tuned, output, strategy: 'quantized' });
  const { page, leave } = await open();
  await give(page, base, output);
  await press(page, '[data-key="tab rebuild"]');
  await page.waitForSelector('[data-key=start]:enabled');
  await page.evaluate(async () => {
    const until = async (is) => {
      while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 4));
    };
    // All pages of this browser share one storage; results of other tests stay in it.
    const results = await (await navigator.storage.getDirectory()).getDirectoryHandle('wdelta-results', { create: true });
    const count = async () => {
      let found = 0;
      for await (const _ of results.keys()) found++;
      return found;
    };
    const kept = await count();
    const bar = document.querySelector('.job-bar');
    document.querySelector('[data-key=start]').click();
    await until(() => !bar.hidden);
    document.querySelector('[data-key=cancel]').click();
    await until(() => bar.hidden);
    await until(async () => (await count()) === kept);
  });
  await page.waitForFunction(() => /was cancelled/.test(document.querySelector('.outcome')?.textContent ?? ''));
  await leave();
});
