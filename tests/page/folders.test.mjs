// Folders and shards in and out, deltas made on a chain, and what a closed tab leaves behind.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { decode, encode } from '../../pkg/node.js';
import { readModel, writeModel } from '../../pkg-scripts/lib/safetensors.mjs';
import { start } from './browser.mjs';
import { DATA } from './data.mjs';

const [BASE, SFT, STEP1, STEP2] = ['base', 'ft-sft', 'ft-step1', 'ft-step2'].map((name) => fileURLToPath(new URL(`${name}.safetensors`, DATA)));
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];

let folder, site;
const path = (name) => join(folder, name);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Writes a model as a folder of two shards with an index. */
async function shard(source, target) {
  await mkdir(target);
  const tensors = [...readModel(source)];
  const middle = Math.ceil(tensors.length / 2);
  const parts = [tensors.slice(0, middle), tensors.slice(middle)];
  const places = parts.flatMap((part, i) => part.map(([name]) => [name, SHARDS[i]]));
  for (const [i, part] of parts.entries()) await writeFile(join(target, SHARDS[i]), writeModel(new Map(part)));
  await writeFile(join(target, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: Object.fromEntries(places) }));
  await writeFile(join(target, 'config.json'), '{}');
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-folders-'));
  await shard(BASE, path('base'));
  await shard(SFT, path('tuned'));
  await encode({ base: path('base'), finetuned: path('tuned'), output: path('sft.wdelta') });
  await encode({ base: BASE, finetuned: STEP1, output: path('one.wdelta') });
  await decode({ base: path('base'), deltas: [path('sft.wdelta')], output: path('rebuilt') });
  site = await start();
});
after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

/** Opens a folder by the menu beside Open. */
async function giveFolder(driven, name) {
  const { page } = driven;
  const chips = await page.locator('.chip').count();
  await page.getByRole('button', { name: 'More ways to open' }).click();
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Folder…', exact: true }).click();
  await (await chooser).setFiles(path(name));
  await page.locator('.chip').nth(chips).waitFor();
}

/** What Node rebuilt: SHA-256 by file name. */
async function expected() {
  const names = (await readdir(path('rebuilt'))).filter((name) => /safetensors/.test(name));
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, sha256(await readFile(join(path('rebuilt'), name)))])));
}

test('a folder of shards is rebuilt into as many files, in private storage and in a folder that was picked', async () => {
  const script = `globalThis.stub = async () => (await navigator.storage.getDirectory()).getDirectoryHandle('picked', { create: true });`;
  for (const picked of [false, true]) {
    const driven = await site.open({ path: '#rebuild', script });
    const { page } = driven;
    if (picked) await page.evaluate(() => (globalThis.showDirectoryPicker = globalThis.stub));
    else await page.evaluate(() => delete globalThis.showDirectoryPicker);
    await giveFolder(driven, 'base');
    await page.locator('.chip').getByText('2 files').waitFor();
    await driven.give(path('sft.wdelta'));
    await page.locator('[data-key=start]:enabled').waitFor();
    await page.getByRole('radio', { name: picked ? /^A folder on this machine/ : /^Private storage/ }).check();
    await page.locator('[data-key=start]:enabled').click();
    await page.locator('[data-result]').waitFor();
    const files = Object.entries(await driven.privateFiles()).map(([name, hash]) => [name.split('/').pop(), hash]);
    assert.deepEqual(Object.fromEntries(files), await expected());
    if (!picked) {
      const { name, bytes } = await driven.download(new RegExp(`^Download ${SHARDS[1]}`));
      assert.deepEqual([name, sha256(bytes)], [SHARDS[1], (await expected())[SHARDS[1]]]);
    }
    await driven.close();
  }
});

test('what a picked folder holds already is not replaced', async () => {
  const driven = await site.open({ path: '#rebuild' });
  const { page } = driven;
  // The folder of the base itself, as the page sees it: its shards have the names of the result's.
  await page.evaluate(async (name) => {
    const picked = await (await navigator.storage.getDirectory()).getDirectoryHandle('picked', { create: true });
    const writable = await (await picked.getFileHandle(name, { create: true })).createWritable();
    await writable.write('the base');
    await writable.close();
    globalThis.showDirectoryPicker = async () => picked;
  }, SHARDS[1]);
  const held = await driven.privateFiles();
  await giveFolder(driven, 'base');
  await driven.give(path('sft.wdelta'));
  await page.locator('[data-key=start]:enabled').waitFor();
  await page.getByRole('radio', { name: /^A folder on this machine/ }).check();
  await page.locator('[data-key=start]:enabled').click();
  const problem = await driven.problem('USAGE');
  assert.match(problem, new RegExp(`${SHARDS[1]} exists already; choose another place`));
  assert.doesNotMatch(problem, /force/);
  assert.deepEqual(await driven.privateFiles(), held);
  await driven.close();
});

test('folders of shards make the delta that Node makes', async () => {
  const driven = await site.open({ path: '#make' });
  await giveFolder(driven, 'base');
  await giveFolder(driven, 'tuned');
  await driven.page.locator('[data-key=start]:enabled').click();
  await driven.page.locator('[data-result]').waitFor();
  const { bytes } = await driven.download(/^Download tuned/);
  assert.ok(bytes.equals(await readFile(path('sft.wdelta'))));
  await driven.close();
});

test('a delta on a chain: its parents are chosen, its bytes are those of Node, and it follows', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(BASE, STEP2, path('one.wdelta'));
  await page.getByRole('radio', { name: /^The base with 1 delta/ }).check();
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  const { bytes } = await driven.download(/^Download ft-step2/);
  const { data } = await encode({ base: BASE, finetuned: STEP2, parents: [path('one.wdelta')] });
  assert.ok(bytes.equals(data), `${bytes.length} bytes, Node gives ${data.length}`);
  await driven.view('Lineage');
  await page.getByRole('button', { name: /^Check the links/ }).click();
  await page.getByText('2 deltas; links: 2 verified.').waitFor();
  await page.getByRole('button', { name: 'Rebuild with 2 deltas' }).waitFor();
  await driven.close();
});

test('a result of a closed tab is offered, and unfinished work is cleared away', async () => {
  const driven = await site.open({ path: '#rebuild' });
  const { page } = driven;
  await driven.give(BASE, path('one.wdelta'));
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  // What a tab leaves that was closed in the middle of its work: an empty file, or some of several.
  await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const folder = (place, name) => place.getDirectoryHandle(name, { create: true });
    const file = async (place, name, text) => {
      const stream = await (await place.getFileHandle(name, { create: true })).createWritable();
      await stream.write(text);
      await stream.close();
    };
    await file(await folder(root, 'wdelta-tmp'), 'left', '');
    const results = await folder(root, 'wdelta-results');
    await file(await folder(results, 'left'), 'half.safetensors', '');
    await file(await folder(results, 'more'), 'first.safetensors', 'complete, but for the others');
    await file(await folder(results, 'more'), '.part', '');
  });
  const other = await driven.context.newPage();
  await page.close();
  await other.goto(site.url);
  const notice = other.locator('[aria-label="Private copies"]');
  await notice.getByText('one.safetensors').waitFor();
  assert.equal(await notice.getByRole('listitem').count(), 1);
  const started = other.waitForEvent('download');
  await notice.getByRole('button', { name: 'Download' }).click();
  assert.equal((await started).suggestedFilename(), 'one.safetensors');
  await notice.getByRole('button', { name: 'Delete' }).click();
  await notice.waitFor({ state: 'detached' });
  const left = await other.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const names = [];
    for (const folder of ['wdelta-results', 'wdelta-tmp']) for await (const name of (await root.getDirectoryHandle(folder)).keys()) names.push(name);
    return names;
  });
  assert.deepEqual(left, []);
  await driven.close();
});

test('a folder without anything to open is said to have none, whatever is open, until there is something', async () => {
  await mkdir(path('other'));
  await writeFile(path('other/pytorch_model.bin'), 'PK\x03\x04 and more');
  await writeFile(path('other/notes.md'), '# Notes');
  const driven = await site.open();
  const { page } = driven;
  await driven.give(path('one.wdelta'));
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'More ways to open' }).click();
  await page.getByRole('button', { name: 'Folder…', exact: true }).click();
  await (await chooser).setFiles(path('other'));
  const said = page.locator('.notice').getByText(/^ ?other\/pytorch_model\.bin: Not a .wdelta or .safetensors file: .* \(ZIP\)\. If it is a PyTorch checkpoint, convert it/);
  await said.waitFor();
  await driven.give(BASE);
  await said.waitFor({ state: 'detached' });
  await driven.close();
});

test('files of a folder are opened in the order of their names', async () => {
  await mkdir(path('steps'));
  const bytes = await readFile(path('one.wdelta'));
  const names = ['step-1', 'step-2', 'step-9', 'step-10', 'step-11'].map((name) => `${name}.wdelta`);
  for (const name of ['step-10', 'step-2', 'step-11', 'step-9', 'step-1']) await writeFile(path(`steps/${name}.wdelta`), bytes);
  const driven = await site.open();
  await giveFolder(driven, 'steps');
  await driven.page.locator('.chip').nth(4).waitFor();
  assert.deepEqual(await driven.page.locator('.chip .name').evaluateAll((all) => all.map(({ title }) => title)), names);
  await driven.close();
});
