// The site as it is published: under a sub-path, offline after the first visit, and taking over a new version when asked.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { after, before, test } from 'node:test';
import { bundle } from '../../pkg-scripts/lib/bundle.mjs';
import { list } from '../../pkg-scripts/lib/files.mjs';
import { contentSecurityPolicy } from '../../pkg-scripts/lib/headers.mjs';
import { pkg } from '../../pkg-scripts/lib/run.mjs';
import { siteFiles, writeSite } from '../../pkg-scripts/lib/site.mjs';
import { start } from './browser.mjs';
import { DATA } from './data.mjs';

const SUB = 'some/path/';

let folder, sub, site;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-site-'));
  sub = join(folder, 'some', 'path');
  const files = new Map(await Promise.all(list(pkg).map(async (path) => [path, await readFile(join(pkg, path))])));
  writeSite(sub, await siteFiles(files));
  site = await start({ dir: folder });
});

after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

/** Waits until the service worker has the site and answers for this page. */
const controlled = (page) =>
  page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller)
      await new Promise((done) => navigator.serviceWorker.addEventListener('controllerchange', done, { once: true }));
  });

test('the service worker lists what the page loads, and nothing that is not there', async () => {
  const { version, files } = vm.runInNewContext(`(${/\{version:.*?\]\}/.exec(await readFile(join(sub, 'sw.js'), 'utf8'))?.[0]})`);
  assert.match(version, /^[0-9a-f]{16}$/);
  const there = new Set(list(sub));
  for (const path of files) assert.ok(there.has(path), path);
  for (const path of ['index.html', 'remote.html', 'js/main.js', 'pkg/worker.js', 'pkg/wdelta_bg.wasm', 'pkg/wdelta_read.wasm'])
    assert.ok(files.includes(path), path);
  assert.ok(!files.some((path) => /^sample|node\.js$|\.d\.ts$/.test(path)), files.join(' '));
});

test('the package lies in the files of the page and of its worker, and has none of its own', async () => {
  assert.deepEqual(
    list(sub).filter((path) => /^(js|pkg)\/.*\.js$/.test(path)).sort(),
    ['js/main.js', 'js/sample/sample.js', 'pkg/worker.js'],
  );
});

test('what a module finds by its own address is found from the file that it is linked into', async () => {
  const modules = new Map([
    ['js/main.js', "import '../pkg/part.js'; import { core } from '../pkg/both.js'; globalThis.core = core"],
    ['pkg/part.js', "globalThis.part = new URL('./worker.js', import.meta.url)"],
    ['pkg/both.js', "export const core = new URL('./core.wasm', import.meta.url)"],
    ['pkg/worker.js', "import { core } from './both.js'; postMessage(core)"],
  ]);
  const scripts = await bundle(modules);
  assert.match(scripts.get('js/main.js'), /new URL\("\.\/worker\.js",new URL\("\.\.\/pkg\/part\.js",import\.meta\.url\)\)/);
  assert.match(scripts.get('pkg/worker.js'), /new URL\("\.\/core\.wasm",import\.meta\.url\)/);
});

test('a module that is no part of the site is not linked', async () => {
  const entries = ['js/main.js', 'pkg/worker.js'];
  // It is there, beside the tests, but only for Node.
  const modules = new Map(entries.map((path) => [path, "import '../pkg/node.js'"]));
  await assert.rejects(bundle(modules), /pkg\/node\.js is imported, but is no part of the site/);
});

test('visitors load the core that reads; the whole one comes with Make, offline too', async () => {
  const [base, finetuned] = ['base', 'ft-step1'].map((name) => fileURLToPath(new URL(`${name}.safetensors`, DATA)));
  const driven = await site.open({ path: SUB });
  const { page } = driven;
  const cores = async () => {
    const urls = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => name));
    return urls.filter((url) => url.endsWith('.wasm')).map((url) => url.split('/').pop());
  };
  const make = async () => {
    await driven.view('Make');
    await driven.give(base, finetuned);
    await page.locator('[data-key=start]:enabled').click();
    await page.locator('[data-result]').waitFor();
  };
  await page.getByRole('button', { name: 'Try the sample' }).click();
  await driven.view('Rebuild');
  await page.getByRole('button', { name: 'Rebuild model' }).click();
  await page.locator('[data-result]').waitFor();
  assert.deepEqual(await cores(), ['wdelta_read.wasm']);
  await controlled(page);
  await page.reload();
  await page.locator('html[data-ready]').waitFor();
  assert.deepEqual(await cores(), ['wdelta_read.wasm']);
  await site.pause();
  await make();
  assert.deepEqual(await cores(), ['wdelta_read.wasm', 'wdelta_bg.wasm']);
  await site.resume();
  await driven.close();
});

test('remote.html alone may read from other hosts, also under a sub-path', async () => {
  for (const [name, remote] of [['index.html', false], ['', false], ['js/main.js', false], ['remote.html', true]]) {
    const response = await fetch(`${site.url}${SUB}${name}`);
    assert.equal(response.status, 200, name);
    assert.equal(response.headers.get('content-security-policy'), contentSecurityPolicy(remote), name);
  }
  const driven = await site.open({ path: `${SUB}remote.html` });
  await driven.page.getByRole('textbox', { name: 'Link to' }).waitFor();
  await driven.close();
});

test('offline the sample says what it needs; once loaded it is there, with what runs it', async () => {
  const driven = await site.open({ path: SUB });
  const { page } = driven;
  await controlled(page);
  await site.pause();
  await page.getByRole('button', { name: 'Try the sample' }).click();
  await page.locator('.notice').getByText('needs a connection once').waitFor();
  await site.resume();
  await page.getByRole('button', { name: 'Try the sample' }).click();
  await page.locator('.summary').getByText('lossless · v2').waitFor();
  assert.equal(await page.locator('.notice').count(), 0);

  await site.pause();
  await page.reload();
  await page.locator('html[data-ready]').waitFor();
  await page.getByRole('button', { name: 'Try the sample' }).click();
  await page.locator('.summary').getByText('lossless · v2').waitFor();
  await driven.view('Rebuild');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.waitForFunction(() => [...document.querySelectorAll('p.text')].every((text) => text.textContent.length > 40));
  await site.resume();
  await driven.context.close();
  // That the server was away is all that was said.
  assert.deepEqual(driven.complaints.filter((text) => !/ERR_|Failed to fetch/.test(text)), []);
});

test('a sample that was loaded before the service worker had come is kept as well', async () => {
  const driven = await site.open({
    path: SUB,
    // It comes when it is let.
    script: `const { register } = ServiceWorkerContainer.prototype;
      ServiceWorkerContainer.prototype.register = async function (...all) { globalThis.come = () => register.apply(this, all); return { addEventListener() {} }; };`,
  });
  const { page } = driven;
  await page.getByRole('button', { name: 'Try the sample' }).click();
  await page.locator('.summary').getByText('lossless · v2').waitFor();
  await page.evaluate(() => void globalThis.come());
  await controlled(page);
  await page.waitForFunction(async () => {
    const [name] = await caches.keys();
    return (await (await caches.open(name)).keys()).some(({ url }) => url.endsWith('tokenizer.json'));
  });
  await driven.close();
});

test('the development server, from which nothing can be kept, keeps no service worker', async () => {
  const plain = await start({});
  const driven = await plain.open();
  await driven.page.waitForFunction(async () => !(await navigator.serviceWorker.getRegistrations()).length);
  assert.equal(await driven.page.evaluate(() => navigator.serviceWorker.controller), null);
  await driven.close();
  await plain.stop();
});

test('after one visit the page works without the server, a new version comes when asked for', async () => {
  const driven = await site.open({ path: SUB });
  const { page } = driven;
  await controlled(page);
  const sample = async () => {
    await page.getByRole('button', { name: 'Try the sample' }).click();
    await page.locator('.summary').getByText('lossless · v2').waitFor();
  };
  await sample();

  await site.pause();
  await page.reload();
  await page.locator('html[data-ready]').waitFor();
  await sample();
  await page.locator('.tabs').getByRole('link', { name: 'Rebuild' }).click();
  await page.getByRole('button', { name: 'Rebuild model' }).click();
  await page.locator('[data-result]').waitFor();
  await page.goto(`${site.url}${SUB}remote.html`);
  await page.locator('html[data-ready]').waitFor();
  await site.resume();

  const worker = join(sub, 'sw.js');
  const before = await readFile(worker, 'utf8');
  await writeFile(worker, before.replace(/version:"\w+"/, 'version:"next"'));
  const index = join(sub, 'index.html');
  await writeFile(index, (await readFile(index, 'utf8')).replace('<title>wdelta', '<title>next wdelta'));
  await page.goto(site.url + SUB);
  assert.equal(await page.title(), 'wdelta');
  await page.getByRole('button', { name: 'Load the new version' }).click();
  await page.waitForFunction(() => document.title === 'next wdelta');
  await page.locator('html[data-ready]').waitFor();
  assert.deepEqual(await page.evaluate(() => caches.keys()), ['wdelta next']);
  await driven.close();
});
