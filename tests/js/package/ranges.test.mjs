// Random access over HTTP: one tensor, or some of its rows, out of files that stay where they are.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { encode, inspect, tensors } from '../../../pkg/node.js';
import { writeModel } from '../../../pkg-scripts/lib/safetensors.mjs';
import { parseRange } from '../../../pkg-scripts/serve.mjs';

const COLUMNS = 1024;
const ROW = 2 * COLUMNS;
/** Rows of a coded block, which is what is read at least: the large tensor has six, and two of the small ones share one. */
const BLOCK_ROWS = 1024;
const LARGE = 'embed.weight';
const SHAPES = { [LARGE]: [6 * BLOCK_ROWS, COLUMNS], ...Object.fromEntries([1, 2, 3, 4, 5, 6].map((n) => [`layer.${n}.weight`, [512, COLUMNS]])) };
/** What a small read fetches: the header of the base, and the head and the index of the delta. */
const SMALL = 64 << 10;

/** Files by name, and what was asked of them. */
const files = {};
/** @type {{ name: string, length: number }[]} */
let asked = [];
/** Tensors of the fine-tune. @type {Map<string, { dtype: string, shape: number[], bytes: Uint8Array }>} */
const finetuned = new Map();
let server, url, report;

before(async () => {
  const base = new Map();
  let seed = 1;
  for (const [name, shape] of Object.entries(SHAPES)) {
    const [old, changed] = [0, 1].map(() => new Uint16Array(shape[0] * shape[1]));
    for (let i = 0; i < old.length; i++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      // Of the size of weights; a third moves by one ulp.
      old[i] = 0x3b00 + ((seed >>> 16) & 0x81ff);
      changed[i] = old[i] + ((seed >>> 25) % 3 === 0 ? 1 : 0);
    }
    base.set(name, { dtype: 'BF16', shape, bytes: new Uint8Array(old.buffer) });
    finetuned.set(name, { dtype: 'BF16', shape, bytes: new Uint8Array(changed.buffer) });
  }
  files.base = writeModel(base);
  files.delta = (await encode({ base: files.base, finetuned: writeModel(finetuned), effort: 0, lowRank: 'off' })).data;
  report = await inspect(files.delta);

  server = createServer((request, response) => {
    const name = /^\/(\w+)\./.exec(request.url)[1];
    const range = parseRange(request.headers.range, files[name].length);
    assert.ok(Array.isArray(range), 'every read asks for a range');
    const part = files[name].subarray(...range);
    asked.push({ name, length: part.length });
    response.writeHead(206, { 'content-range': `bytes ${range[0]}-${range[1] - 1}/${files[name].length}`, 'content-length': part.length });
    response.end(part);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', () => done(undefined)));
  url = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close());
beforeEach(() => {
  asked = [];
});

/** Requests of a file, and their bytes. */
function traffic(name) {
  const lengths = asked.filter((one) => one.name === name).map(({ length }) => length);
  return { requests: lengths.length, bytes: lengths.reduce((sum, length) => sum + length, 0) };
}

/** Reads by URL and compares every value. @returns the rows of the pieces, from the first to the last */
async function read(options) {
  let at;
  let first;
  for await (const { name, dtype, rows, data } of tensors({ base: `${url}/base.safetensors`, deltas: `${url}/delta.wdelta`, ...options })) {
    assert.deepEqual([[name], dtype, rows[0]], [options.names, 'BF16', at ?? rows[0]]);
    assert.ok(Buffer.from(data).equals(finetuned.get(name).bytes.subarray(rows[0] * ROW, rows[1] * ROW)), `${name}, rows ${rows}`);
    first ??= rows[0];
    at = rows[1];
  }
  return [first, at];
}

for (const workers of [0, 1]) {
  const how = workers ? 'a worker' : 'this thread';

  test(`one tensor costs the block that it lies in, read by ${how}`, async () => {
    const name = 'layer.4.weight';
    const { bytes } = report.tensors.find((tensor) => tensor.name === name);
    assert.deepEqual(await read({ names: [name], workers }), [0, 512]);
    const [base, delta] = [traffic('base'), traffic('delta')];
    assert.ok(base.requests <= 4 && base.bytes <= BLOCK_ROWS * ROW + SMALL + 1, JSON.stringify(base));
    // What two such tensors take differs: a twentieth more than twice this one.
    assert.ok(delta.requests <= 4 && delta.bytes <= 2.1 * bytes + 2 * SMALL + 1, JSON.stringify(delta));
    assert.ok(base.bytes < files.base.length / 8 && delta.bytes < files.delta.length / 5);
  });

  for (const [what, rows, blocks] of [['in one block', [3500, 3510], 1], ['across two blocks', [2040, 2056], 2]]) {
    test(`some rows ${what} cost what covers them, read by ${how}`, async () => {
      const share = (report.tensors.find((tensor) => tensor.name === LARGE).bytes / 6) * blocks;
      assert.deepEqual(await read({ names: [LARGE], rows, workers }), rows);
      const [base, delta] = [traffic('base'), traffic('delta')];
      assert.ok(base.requests <= 2 + blocks && base.bytes <= blocks * BLOCK_ROWS * ROW + SMALL + 1, JSON.stringify(base));
      // Blocks differ in length: a twentieth more than their share.
      assert.ok(delta.requests <= 3 + blocks && delta.bytes <= 1.05 * share + 2 * SMALL + 1, JSON.stringify(delta));
      assert.ok(base.bytes < (files.base.length * blocks) / 7 && delta.bytes < (files.delta.length * (blocks + 1)) / 8);
    });
  }
}

test('what a delta holds is shown without its payload', async () => {
  const seen = await inspect(`${url}/delta.wdelta`);
  assert.deepEqual(seen, report);
  const { requests, bytes } = traffic('delta');
  assert.ok(requests <= 3 && bytes <= 2 * SMALL + 1, `${requests} requests, ${bytes} bytes`);
});
