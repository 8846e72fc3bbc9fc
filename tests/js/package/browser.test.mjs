// The installed package in Chromium, served as plain files and imported without a bundler.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { launchChromium } from '../../../pkg-scripts/lib/browser.mjs';
import { securityHeaders } from '../../../pkg-scripts/lib/headers.mjs';
import { serve } from '../../../pkg-scripts/serve.mjs';
import { install, sample } from './installed.mjs';

let installed, browser, expected;

before(async () => {
  installed = await install();
  await mkdir(join(installed.folder, 'site'));
  await writeFile(join(installed.folder, 'site/index.html'), '<!doctype html><title>test</title>');
  await writeFile(join(installed.folder, 'site/favicon.ico'), '');
  browser = await launchChromium();

  const { decode, encode } = await import(pathToFileURL(join(installed.root, 'node.js')).href);
  const [base, finetuned] = ['base', 'ft-sft'].map((name) => join(sample, `${name}.safetensors`));
  expected = {};
  for (const strategy of ['lossless', 'int4', 'sparse', 'quantized']) {
    const { data } = await encode({ base, finetuned, strategy });
    expected[strategy] = { delta: await sha256(data), model: await sha256((await decode({ base, deltas: [data] })).data) };
  }
});

after(async () => {
  await browser?.close();
  await installed.remove();
});

async function sha256(bytes) {
  return Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
}

/** Runs in the page: every strategy forth and back. */
async function useInPage({ workers, policy }) {
  const wdelta = await import('/pkg/index.js');
  if (policy) {
    const trusted = globalThis.trustedTypes.createPolicy(policy, { createScriptURL: (url) => url });
    await wdelta.init({ createWorker: () => new Worker(trusted.createScriptURL('/pkg/worker.js'), { type: 'module' }) });
  }
  const sha256 = async (bytes) =>
    [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  // With their names: version 2 keeps that of the fine-tune's file.
  const load = async (name) => new File([await (await fetch(`/data/${name}`)).blob()], name);
  const [base, finetuned] = await Promise.all([load('base.safetensors'), load('ft-sft.safetensors')]);
  const found = {};
  for (const strategy of ['lossless', 'int4', 'sparse', 'quantized']) {
    const { data } = await wdelta.encode({ base, finetuned, strategy, workers });
    const seen = await wdelta.inspect(new Blob([data]));
    if (seen.strategy !== strategy || seen.tensors.length !== 47) throw new Error(`inspect shows ${seen.strategy}, ${seen.tensors.length}`);
    const rebuilt = await wdelta.decode({ base, deltas: [new Blob([data])], workers });
    found[strategy] = { delta: await sha256(data), model: await sha256(rebuilt.data) };
  }
  return found;
}

for (const { name, headers, policy } of [
  { name: 'a plain host', headers: () => ({}) },
  { name: 'a host with the security headers of the page', headers: securityHeaders, policy: 'wdelta' },
]) {
  test(`on ${name}, it gives the bytes that Node gives`, async () => {
    const mounts = { pkg: installed.root, data: sample };
    const server = await serve({ dir: join(installed.folder, 'site'), mounts, headers });
    const page = await browser.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    try {
      for (const workers of [0, 2]) {
        await page.goto(server.url);
        const started = [];
        page.on('worker', (worker) => started.push(worker.url()));
        assert.deepEqual(await page.evaluate(useInPage, { workers, policy }), expected);
        assert.equal(started.length > 0, workers > 0, `workers: ${started}`);
      }
      assert.deepEqual(complaints, []);
    } finally {
      await page.close();
      await server.close();
    }
  });
}

/** Runs in the page: rebuilds a model of more than 16 MB into a private file. */
async function rebuildInPage() {
  const wdelta = await import('/pkg/index.js');
  await wdelta.init({ createWorker: () => new Worker('/worker-without-files.js', { type: 'module' }) });
  let asked = 0;
  new BroadcastChannel('asked').onmessage = () => asked++;
  const header = new TextEncoder().encode('{"w":{"dtype":"F32","shape":[5000,1000],"data_offsets":[0,20000000]}}  ');
  const model = (value) => new Blob([new BigUint64Array([BigInt(header.length)]), header, new Float32Array(5e6).fill(value)]);
  const [base, finetuned] = [model(1), model(1.5)];
  const { data } = await wdelta.encode({ base, finetuned });
  const output = await (await navigator.storage.getDirectory()).getFileHandle('rebuilt', { create: true });
  await wdelta.decode({ base, deltas: [data], output });
  const [rebuilt, wanted] = await Promise.all([await output.getFile(), finetuned].map((blob) => blob.arrayBuffer().then((bytes) => new Uint8Array(bytes))));
  return { asked, equal: rebuilt.length === wanted.length && rebuilt.every((byte, i) => byte === wanted[i]) };
}

test('where private files cannot be opened for writing, a result goes through memory', async () => {
  const site = join(installed.folder, 'site');
  const refuse = `FileSystemFileHandle.prototype.createSyncAccessHandle = async () => {
    new BroadcastChannel('asked').postMessage(1);
    throw new DOMException('refused', 'NotSupportedError');
  };`;
  await writeFile(join(site, 'without-files.js'), refuse);
  await writeFile(join(site, 'worker-without-files.js'), "import './without-files.js';\nimport './pkg/worker.js';\n");
  const server = await serve({ dir: site, mounts: { pkg: installed.root }, headers: () => ({}) });
  const page = await browser.newPage();
  try {
    await page.goto(server.url);
    const { asked, equal } = await page.evaluate(rebuildInPage);
    assert.ok(asked > 0, 'a private file was asked for');
    assert.ok(equal, 'the fine-tune is rebuilt');
  } finally {
    await page.close();
    await server.close();
  }
});
