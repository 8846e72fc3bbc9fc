// A delta of 2 GB is shown after reading little more than its header.

import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { start } from './browser.mjs';

/** Bytes that may be read beyond the header: 1 MB, the rest of the header's last block of 64 KB, and the 16 that tell what a file is. */
const BEYOND = (1 << 20) + (64 << 10) + 16;
const LAYERS = 32;
/** Values per tensor: every layer stores them as one sparse tensor without a dropped value, 12 bytes each. */
const VALUES = 8192 * 640;

let folder, site, path, headerLength, size;

const text = (string) => {
  const bytes = Buffer.from(string);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
};

/** What stands before the data of a record, see the format's section on arrays. */
function recordHead(tensor, field, dtype, itemSize) {
  const numbers = Buffer.alloc(20);
  numbers.writeUInt32LE(1);
  numbers.writeBigUInt64LE(BigInt(VALUES), 4);
  numbers.writeBigUInt64LE(BigInt(VALUES * itemSize), 12);
  return Buffer.concat([text(tensor), text(field), text(dtype), numbers]);
}

/** Writes the delta as a sparse file: heads of records, and holes where the data would be. */
async function writeDelta() {
  const names = Array.from({ length: LAYERS }, (_, i) => `model.layers.${i}.mlp.down_proj.weight`).sort();
  const tensor = {
    strategy: 'sparse',
    shape: [8192, 640],
    dtype: 'float32',
    sparsity: 0,
    indices: { _ref: 'indices' },
    values: { _ref: 'values' },
  };
  const tensors = Object.fromEntries(names.map((name) => [name, tensor]));
  const header = text(JSON.stringify({ parent_hash: '5a'.repeat(32), strategy: 'sparse', tensors }));
  const file = await open(path, 'w');
  const start = Buffer.concat([Buffer.from('wdelta\0'), Buffer.from([1, 0, 0, 0]), header]);
  await file.write(start);
  let at = start.length;
  for (const name of names) {
    for (const [field, dtype, itemSize] of [
      ['indices', 'int64', 8],
      ['values', 'float32', 4],
    ]) {
      const head = recordHead(name, field, dtype, itemSize);
      await file.write(head, 0, head.length, at);
      at += head.length + VALUES * itemSize;
    }
  }
  size = at + 32;
  await file.truncate(size);
  await file.close();
  headerLength = header.length;
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-large-'));
  path = join(folder, 'large.wdelta');
  await writeDelta();
  // No service worker, which would answer for the script that is changed below.
  site = await start({});
});

after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

/** Counts what a thread of the page reads of files. */
function countReads() {
  globalThis.read = 0;
  for (const name of ['arrayBuffer', 'text', 'bytes', 'stream']) {
    const original = Blob.prototype[name];
    if (!original) continue;
    Blob.prototype[name] = function () {
      globalThis.read += this.size;
      return original.call(this);
    };
  }
}

test('a delta of 2 GB: summary, map and table after its header and little more', async () => {
  assert.ok(size > 2e9, String(size));
  const driven = await site.open({ script: `(${countReads})()` });
  const { page } = driven;
  let counting = 0;
  await driven.context.route('**/pkg/worker.js', async (route) => {
    const response = await route.fetch();
    counting++;
    await route.fulfill({ response, body: `(${countReads})();\n${await response.text()}` });
  });
  await driven.give(path);
  await page.locator('.summary').getByText('sparse · v1').waitFor();
  await page.locator('table[aria-rowcount] tbody tr').nth(LAYERS - 1).waitFor();
  assert.match(await page.locator('.summary').innerText(), /Tensors\s+32\s+Parameters\s+168\sM\s+Stored\s+2\.01\sGB/);
  const threads = [page, ...page.workers()];
  assert.equal(counting, threads.length - 1, 'every worker counts');
  const counts = await Promise.all(threads.map((thread) => thread.evaluate(() => globalThis.read)));
  const read = counts.reduce((sum, bytes) => sum + bytes, 0);
  assert.ok(read > headerLength && read <= headerLength + BEYOND, `${read} bytes were read, the header has ${headerLength}`);
  await driven.close();
});
