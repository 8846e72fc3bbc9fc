// Where results go: all or nothing, and never over something else.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { folder, noise, stage } from './stage.mjs';

const { load } = stage();
const { decode, encode, plan } = await load('node.js');
const { openSink } = await load('sink.js');

const base = noise(300_000);
const deltas = [new Uint8Array(3)];
/** A model of two files. */
const model = folder();
writeFileSync(join(model, 'a.safetensors'), base);
writeFileSync(join(model, 'b.safetensors'), base.subarray(0, 70_000));

test('several files go into a folder that is made', async () => {
  const output = join(folder(), 'x', 'y');
  const report = await decode({ base: model, deltas, output });
  assert.deepEqual(report.outputs, [join(output, 'a.safetensors'), join(output, 'b.safetensors')]);
  assert.deepEqual(readdirSync(output), ['a.safetensors', 'b.safetensors']);
  assert.deepEqual(readFileSync(join(output, 'b.safetensors')), Buffer.from(base.subarray(0, 70_000)));
});

test('a folder that was made goes with a failure, one that was there stays', async () => {
  const output = folder();
  await assert.rejects(decode({ base: model, deltas, output: join(output, 'x', 'y'), dtype: 'bad' }), { code: 'MALFORMED' });
  assert.deepEqual(readdirSync(output), []);
});

test('one file goes into a folder under its own name', async () => {
  const output = folder();
  await encode({ base, finetuned: base, output });
  assert.deepEqual(readdirSync(output), ['delta.wdelta']);
  await decode({ base, deltas, output: `${output}/new/` });
  assert.deepEqual(readdirSync(join(output, 'new')), ['model.safetensors']);
});

test('what is there is replaced only with force, and only by a finished result', async () => {
  const output = join(folder(), 'out');
  writeFileSync(output, 'old');
  await assert.rejects(decode({ base, deltas, output }), { code: 'USAGE', message: /exists already/ });
  await assert.rejects(decode({ base, deltas, output, force: true, dtype: 'bad' }), { code: 'MALFORMED' });
  assert.equal(readFileSync(output, 'utf8'), 'old');
  await decode({ base, deltas, output, force: true });
  assert.equal(statSync(output).size, base.length);
});

test('an output that another program made meanwhile is not replaced', async () => {
  const home = folder();
  const output = join(home, 'out');
  const reading = {
    size: base.length,
    read(offset, length) {
      writeFileSync(output, 'theirs');
      return base.slice(offset, offset + length);
    },
  };
  await assert.rejects(decode({ base: reading, deltas, output }), { code: 'USAGE', message: /meanwhile/ });
  assert.equal(readFileSync(output, 'utf8'), 'theirs');
  assert.deepEqual(readdirSync(home), ['out']);
});

test('of jobs at once with the same output one gets it, and the others say so', async () => {
  const home = folder();
  const output = join(home, 'out');
  for (let n = 0; n < 10; n++) {
    const all = await Promise.allSettled([1, 2, 3, 4].map(() => decode({ base, deltas, output })));
    assert.deepEqual(all.flatMap(({ reason }) => reason?.code ?? []), ['USAGE', 'USAGE', 'USAGE']);
    assert.deepEqual(readdirSync(home), ['out']);
    rmSync(output);
  }
});

test('a link stays, and what it points to is written', async () => {
  const home = folder();
  mkdirSync(join(home, 'far'));
  symlinkSync('far/file', join(home, 'link'));
  await decode({ base, deltas, output: join(home, 'link') });
  assert.equal(readlinkSync(join(home, 'link')), 'far/file');
  assert.equal(statSync(join(home, 'far', 'file')).size, base.length);
});

test('a place that cannot take the result is refused before the work', async () => {
  const file = join(folder(), 'file');
  writeFileSync(file, '');
  await assert.rejects(decode({ base: model, deltas, output: file, force: true }), { code: 'USAGE', message: /is a file/ });
  await assert.rejects(decode({ base: model, deltas, output: `${file}.safetensors` }), { code: 'USAGE', message: /named like a file/ });
  await assert.rejects(decode({ base, deltas, output: '/dev/null', force: true }), { code: 'USAGE', message: /not a regular file/ });
  await assert.rejects(decode({ base, deltas, output: join(file, 'below') }), { code: 'IO' });
  await assert.rejects(decode({ base: model, deltas, output: new WritableStream() }), { code: 'USAGE', message: /give a folder/ });
});

for (const path of ['../x', '/x', 'a/../../x', 'a\\x', 'C:x', 'a//x', '.', 'a/\u0000']) {
  test(`the path ${JSON.stringify(path)} from a file is refused`, async () => {
    const home = folder();
    await assert.rejects(decode({ base, deltas, layout: path, output: join(home, 'out/') }), { code: 'MALFORMED' });
    await assert.rejects(decode({ base, deltas, layout: path }), { code: 'MALFORMED' });
    assert.deepEqual(readdirSync(home), []);
  });
}

test('a path below the folder is followed', async () => {
  const output = folder();
  await decode({ base, deltas, layout: 'sub/x.safetensors', output });
  assert.deepEqual(readdirSync(join(output, 'sub')), ['x.safetensors']);
});

test('a disk that is full is named, and nothing is left', { skip: process.platform !== 'linux' }, async () => {
  const home = folder();
  for (const workers of [0, 1]) {
    const huge = { size: 2 ** 53 - 1, read: () => assert.fail('nothing may be read') };
    const error = await decode({ base: huge, deltas, workers, output: join(home, 'out') }).catch((thrown) => thrown);
    assert.equal(error.code, 'IO');
    assert.deepEqual(readdirSync(home), []);
  }
});

/** A sink that notes what happens to it. */
function notes(fail = {}) {
  const calls = [];
  const note = (name) => (...args) => {
    calls.push([name, ...args]);
    if (fail[name]) throw new Error(`${name} failed`);
  };
  return { calls, write: note('write'), close: note('close'), abort: note('abort') };
}

test('a handle that is read is not written', async () => {
  const handle = (name) => ({ kind: 'file', name, getFile: async () => new File([base], name), isSameEntry: async (other) => other.name === name });
  for (const given of [handle('model'), [handle('model')]]) {
    await assert.rejects(decode({ base: given, deltas, output: handle('model'), force: true }), { code: 'USAGE', message: /^base.* is the output; choose another place$/ });
  }
});

test('an object gets the finished result from front to back', async () => {
  const output = notes();
  await decode({ base, deltas, workers: 3, output });
  assert.deepEqual(output.calls.at(-1), ['close']);
  const got = new Uint8Array(base.length);
  let end = 0;
  for (const [name, offset, bytes] of output.calls.slice(0, -1)) {
    assert.deepEqual([name, offset], ['write', end]);
    got.set(bytes, offset);
    end += bytes.length;
  }
  assert.deepEqual(got, base);
});

test('an object and a stream learn of a failure, before the first byte too', async () => {
  const output = notes();
  await assert.rejects(decode({ base, deltas, output, dtype: 'bad' }), { code: 'MALFORMED' });
  assert.deepEqual(output.calls.map(([name, reason]) => [name, reason.code]), [['abort', 'MALFORMED']]);
  let reason;
  const stream = new WritableStream({ abort: (why) => void (reason = why) });
  await assert.rejects(decode({ base, deltas, output: stream, dtype: 'bad' }), { code: 'MALFORMED' });
  assert.equal(reason.code, 'MALFORMED');
});

test('a stream that somebody else writes to is refused before the work', async () => {
  const output = new WritableStream();
  output.getWriter();
  const unread = { size: 1000, read: () => assert.fail('nothing may be read') };
  await assert.rejects(decode({ base: unread, deltas, output }), { code: 'USAGE', message: /locked stream; choose another place/ });
});

test('a stream that is locked meanwhile fails, and the room for the result is given back', async (t) => {
  const { TMPDIR } = process.env;
  t.after(() => Object.assign(process.env, { TMPDIR: TMPDIR ?? tmpdir() }));
  process.env.TMPDIR = folder();
  const output = new WritableStream();
  // Beyond what is held in memory.
  const large = { size: 17e6, read: (_, length) => new Uint8Array(length) };
  const onProgress = ({ phase }) => phase === 'copying' && !output.locked && output.getWriter();
  await assert.rejects(decode({ base: large, deltas, workers: 0, output, onProgress }), { code: 'IO', message: /^the output cannot be written: .*locked/ });
  assert.deepEqual(readdirSync(process.env.TMPDIR), []);
});

test('a handle that cannot be looked at is a problem of the plan, with a code', async () => {
  const getFile = () => Promise.reject(new DOMException('No.', 'NotAllowedError'));
  const { problems } = await plan({ job: 'decode', base, deltas, output: { kind: 'file', name: 'x', getFile } });
  assert.deepEqual(problems, [{ severity: 'error', code: 'IO', message: 'the output cannot be written: permission is denied' }]);
});

test('a caller who aborts does not wait for a stream that takes nothing any more', async () => {
  let taken;
  const stream = new WritableStream({ write: () => new Promise(() => taken()) });
  const controller = new AbortController();
  taken = () => controller.abort();
  await assert.rejects(decode({ base, deltas, output: stream, signal: controller.signal }), { code: 'ABORTED' });
});

test('an object that fails ends the job and is aborted', async () => {
  for (const name of ['write', 'close']) {
    const output = notes({ [name]: true });
    await assert.rejects(decode({ base, deltas, output }), { code: 'IO', message: new RegExp(`${name} failed`) });
    assert.equal(output.calls.at(-1)[0], 'abort');
  }
});

test('results in memory are limited, before anything is read', async () => {
  const huge = { size: 256e6 + 1, read: () => assert.fail('nothing may be read') };
  await assert.rejects(decode({ base: huge, deltas }), { code: 'LIMIT', message: /give an output/ });
});

test('a result in memory whose size is only bounded takes no more than is allowed, and is cut to what it has', async () => {
  const limit = 256e6;
  const sink = openSink(undefined, false, '');
  await sink.check([{ path: '', size: 230e6 }]);
  const [output] = await sink.create([{ path: '', size: 920e6 }]);
  assert.equal(output.bytes.length, limit);
  output.write(limit - 2, Uint8Array.of(1, 2));
  assert.throws(() => output.write(limit - 1, Uint8Array.of(1, 2)), { code: 'LIMIT', message: /256000001 bytes: give an output/ });
  output.write(0, Uint8Array.of(3, 4));
  output.size = 2;
  const { data } = await sink.commit(undefined, () => {});
  assert.deepEqual([data, data.buffer.byteLength], [Uint8Array.of(3, 4), 2]);
});

test('several results in memory come with their paths', async () => {
  const { files } = await decode({ base: model, deltas });
  assert.deepEqual(files.map(({ path, size, data }) => [path, size, data.length]), [['a.safetensors', 300_000, 300_000], ['b.safetensors', 70_000, 70_000]]);
});
