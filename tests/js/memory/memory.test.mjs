// Memory does not grow with the models, and positions do not stop at 4 GiB.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { decode, encode, inspect, tensors } from '../../../pkg/node.js';
import { layout, writeHoles, writePair } from './large.mjs';

const node = new URL('../../../pkg/node.js', import.meta.url).href;
const MB = 1e6;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-memory-'));
});
after(() => rm(folder, { recursive: true }));

const at = (name) => join(folder, name);

/** A source that counts what is read of it. */
async function counting(path) {
  const file = await open(path);
  const source = {
    size: (await file.stat()).size,
    name: 'counted.wdelta',
    read: async (offset, length, into) => {
      source.bytes += length;
      source.end = Math.max(source.end, offset + length);
      const { bytesRead } = await file.read(into, 0, length, offset);
      assert.equal(bytesRead, length);
      return into;
    },
    bytes: 0,
    end: 0,
    close: () => file.close(),
  };
  return source;
}

/** Runs one call in a process of its own; gives its peak resident memory in bytes. */
async function peakOf(call) {
  // Linux's maxRSS starts with the parent's memory; its status file is about the process alone.
  const code = `import { readFileSync } from 'node:fs'
    import { decode, encode, inspect } from ${JSON.stringify(node)}
    ${call}
    const status = process.platform === 'linux' ? readFileSync('/proc/self/status', 'utf8') : ''
    console.log((/VmHWM:\\s*(\\d+)/.exec(status)?.[1] ?? process.resourceUsage().maxRSS) * 1024)`;
  await writeFile(at('call.mjs'), code);
  const { stdout } = await promisify(execFile)(process.execPath, [at('call.mjs')]);
  return Number(stdout);
}

test('a 350 MB pair: encode and decode stay under 350 MB, inspect under 120 MB and in the header', async () => {
  const form = layout([
    { name: 'embed', dtype: 'BF16', shape: [60_000, 896] },
    ...Array.from({ length: 8 }, (_, i) => ({ name: `layers.${i}.mlp`, dtype: 'BF16', shape: [16_896, 896] })),
  ]);
  const [base, finetuned, delta, output] = ['base', 'chat', 'delta', 'rebuilt'].map((name) => at(`${name}.safetensors`));
  await writePair([base, finetuned], form);
  assert.ok(form.size > 349 * MB);

  const quote = (options) => JSON.stringify({ workers: 2, force: true, ...options });
  const peaks = {
    encode: await peakOf(`await encode(${quote({ base, finetuned, output: delta, strategy: 'int4' })})`),
    decode: await peakOf(`await decode(${quote({ base, deltas: [delta], output })})`),
    inspect: await peakOf(`await inspect(${JSON.stringify(delta)})`),
  };
  console.log(
    Object.entries(peaks)
      .map(([job, bytes]) => `${job} ${(bytes / MB).toFixed(0)} MB`)
      .join(', '),
  );
  assert.ok(peaks.encode < 350 * MB, `encode: ${peaks.encode}`);
  assert.ok(peaks.decode < 350 * MB, `decode: ${peaks.decode}`);
  assert.ok(peaks.inspect < 120 * MB, `inspect: ${peaks.inspect}`);

  const source = await counting(delta);
  const { layout: parts, bytes, tensors: seen } = await inspect(source);
  await source.close();
  assert.equal(bytes, source.size);
  assert.equal(seen.length, 9);
  const header = parts.header.offset + parts.header.length;
  assert.ok(source.bytes <= header + 64 * 1024, `${source.bytes} bytes read of a file whose header ends at ${header}`);
  for (const path of [base, finetuned, delta, output]) await rm(path);
});

test('a tensor of 1 GiB in a model above 4 GiB is stored and rebuilt', async () => {
  const form = layout([
    ...Array.from({ length: 3 }, (_, i) => ({ name: `pad.${i}`, dtype: 'F32', shape: [16_384, 16_384] })),
    { name: 'large', dtype: 'BF16', shape: [32_768, 16_384] },
    { name: 'tail', dtype: 'BF16', shape: [10, 100] },
  ]);
  const last = 2 ** 30 - 2; // of the large tensor's last element
  assert.ok(form.size > 2 ** 32 && form.offsets.tail > 2 ** 32);
  const bf16 = (/** @type {number[]} */ ...bits) => new Uint8Array(Uint16Array.from(bits).buffer);
  const tail = (factor) => bf16(...Array.from({ length: 1000 }, (_, i) => 0x3c00 + factor * (i % 100)));
  const [base, finetuned, delta, output] = ['base', 'chat', 'delta', 'rebuilt'].map((name) => at(`${name}.safetensors`));
  await writeHoles(base, form, [[form.offsets.tail, tail(1)]]);
  await writeHoles(finetuned, form, [
    [form.offsets['pad.1'], new Uint8Array(Float32Array.of(0.5).buffer)],
    [form.offsets.large, bf16(0x3f80)],
    [form.offsets.large + last, bf16(0xbf80)],
    [form.offsets.tail, tail(2)],
  ]);

  await encode({ base, finetuned, output: delta, strategy: 'sparse', sparsity: '0.99999', workers: 2 });
  const { size } = await stat(delta);
  assert.ok(size < 2 * MB, `the delta has ${size} bytes`);

  // Straight from the middle of the base, without rebuilding the rest.
  const pieces = [];
  for await (const piece of tensors({ base, deltas: [delta], names: ['tail'], as: 'stored' })) pieces.push(piece.data);
  assert.equal(Buffer.concat(pieces).length, 2000);

  await decode({ base, deltas: [delta], output, workers: 2 });
  assert.equal((await stat(output)).size, form.size);
  const file = await open(output);
  const read = async (offset, length) => (await file.read(Buffer.alloc(length), 0, length, offset)).buffer;
  assert.deepEqual(await read(0, form.head.length), form.head);
  assert.equal((await read(form.offsets['pad.1'], 4)).readFloatLE(), 0.5);
  assert.deepEqual(await read(form.offsets.large, 4), Buffer.from(bf16(0x3f80, 0)));
  assert.deepEqual(await read(form.offsets.large + last - 2, 4), Buffer.from(bf16(0, 0xbf80)));
  assert.deepEqual(await read(form.offsets.tail, 2000), Buffer.concat(pieces));
  await file.close();
});
