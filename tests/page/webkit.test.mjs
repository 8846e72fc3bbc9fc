// The page in WebKitGTK, the engine of Safari: inspect, rebuild, make, sample. Driven like this it has no private storage, as in a private window.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { after, test } from 'node:test';
import { hasWebKit, launchWebKit } from '../../pkg-scripts/lib/webkit.mjs';
import { serve } from '../../pkg-scripts/serve.mjs';
import { decode, encode } from '../../pkg/node.js';
import { DATA } from './data.mjs';

/** Not on every machine can it show anything. @type {string | false} */
let skip = hasWebKit() ? false : 'no WebKitGTK here';
const browser = skip ? undefined : await launchWebKit().catch(({ message }) => void (skip = `WebKitGTK does not start here: ${message}`));
const site = await serve({ dir: process.env.WDELTA_SITE });
const model = (name) => fileURLToPath(new URL(`${name}.safetensors`, DATA));
const delta = fileURLToPath(new URL('../../www/sample/docs-int4.wdelta', import.meta.url));
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

after(async () => {
  await browser?.close();
  await site.close();
});

async function open() {
  await browser.open(site.url);
  await browser.until(`document.documentElement.dataset.ready !== undefined`);
  // Errors are gathered, dialogs of files are kept shut, and what would be downloaded is kept.
  await browser.run(`
    window.faults = [];
    addEventListener('error', ({ message }) => window.faults.push(message));
    addEventListener('unhandledrejection', ({ reason }) => window.faults.push(String(reason)));
    HTMLInputElement.prototype.click = function () {
      this.id = 'taken';
      document.body.append(this);
    };
    const { createObjectURL } = URL;
    URL.createObjectURL = (blob) => createObjectURL((window.saved = blob));`);
}

const leave = async () => assert.deepEqual(await browser.run('return window.faults'), []);

async function give(...paths) {
  await browser.run(`document.querySelector('header .open button').click()`);
  await browser.upload('#taken', paths);
  await browser.until(`document.querySelectorAll('.chip').length === ${paths.length} && !document.querySelector('.chip[aria-busy=true]')`);
  await browser.run(`document.querySelector('#taken').remove()`);
}

async function press(selector) {
  await browser.until(`document.querySelector(${JSON.stringify(selector)})`);
  await browser.run('document.querySelector(args[0]).click()', selector);
}

async function view(name) {
  await press(`[data-key="tab ${name}"]`);
  await browser.until(`document.documentElement.dataset.view === ${JSON.stringify(name)}`);
}

/** Runs the job of the view; gives the SHA-256 of the file that can be downloaded. */
async function run() {
  await press('[data-key=start]:enabled');
  await browser.until(`document.querySelector('[data-result]')`);
  await press('[data-key^="save "]');
  await browser.until('window.saved');
  return browser.runAsync(`
    const digest = await crypto.subtle.digest('SHA-256', await window.saved.arrayBuffer());
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');`);
}

test('inspect and rebuild give the bytes of Node', { skip }, async () => {
  await open();
  await give(delta, model('base'));
  await browser.until(`document.querySelector('.tensors tbody tr')`);
  await view('rebuild');
  const rebuilt = await decode({ base: model('base'), deltas: [delta] });
  assert.equal(await run(), sha256(rebuilt.data));
  await leave();
});

test('make gives the bytes of Node', { skip }, async () => {
  await open();
  await give(model('base'), model('ft-sft'));
  await view('make');
  const made = await encode({ base: model('base'), finetuned: model('ft-sft') });
  assert.equal(await run(), sha256(made.data));
  await leave();
});

test('the sample writes', { skip }, async () => {
  await open();
  await browser.run(`[...document.querySelectorAll('button')].find(({ textContent }) => /Try the sample/.test(textContent)).click()`);
  await browser.until(`document.querySelector('.tensors tbody tr')`);
  await view('rebuild');
  await press('[data-key=generate]:enabled');
  await browser.until(`/then apart|wrote the same/.test(document.querySelector('.try')?.textContent)`);
  await leave();
});
