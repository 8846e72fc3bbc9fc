// Whole calls over the fake core: every kind of source, any number of workers, and every way to end.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { openAsBlob, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { folder, noise, stage } from './stage.mjs';

const { load } = stage();
const { WdeltaError, decode, encode, init, inspect, plan, stats, tensors, version } = await load('node.js');

const base = noise(1_000_000);
const sha256 = createHash('sha256').update(base).digest('hex');
const deltas = [new Uint8Array(3)];
const home = folder();
const path = join(home, 'base.safetensors');
writeFileSync(path, base);

/** Files below `home` that this process has open, where the system tells. */
function openFiles() {
  if (process.platform !== 'linux') return [];
  const target = (fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the one that listed the folder
    }
  };
  return readdirSync('/proc/self/fd').map(target).filter((file) => file.startsWith(home));
}

/** Runs a call that must fail, and checks that it leaves nothing. @returns its error */
async function failing(call) {
  const before = [readdirSync(home), openFiles()];
  const error = await call().then(
    () => assert.fail('it should have failed'),
    (thrown) => thrown,
  );
  assert.ok(error instanceof WdeltaError, error?.stack);
  assert.deepEqual([readdirSync(home), openFiles()], before);
  return error;
}

const sources = {
  bytes: base,
  buffer: base.buffer,
  path,
  url: pathToFileURL(path),
  blob: await openAsBlob(path),
  'object that gives': { size: base.length, read: async (offset, length) => base.slice(offset, offset + length) },
  'object that fills': {
    size: base.length,
    read(offset, length, into) {
      into.set(base.subarray(offset, offset + length));
      return into;
    },
  },
};
for (const [name, source] of Object.entries(sources)) {
  for (const workers of [0, 1, 3]) {
    test(`${name} with ${workers} workers gives the same bytes`, async () => {
      const report = await decode({ base: source, deltas, workers });
      assert.equal(report.sha256, sha256);
      assert.ok(base.every((byte, i) => byte === report.data[i]));
      // In the order of the tasks, though the last ones cost most and run first.
      assert.ok(report.reports.every(([start], i) => start === 0 || start === report.reports[i - 1][1]), JSON.stringify(report.reports));
      assert.equal(report.reports.reduce((sum, [start, end]) => sum + end - start, 0), base.length);
    });
  }
}

test('a lane that was never fed has the hash of nothing', async () => {
  const { nothing } = await decode({ base, deltas });
  assert.equal(nothing, createHash('sha256').digest('hex'));
});

test('several calls at once share the pool and the core', async () => {
  const calls = Array.from({ length: 4 }, (_, i) => decode({ base: path, deltas, workers: i }));
  for (const report of await Promise.all(calls)) assert.equal(report.sha256, sha256);
});

test('roles, groups and paths reach the core', async () => {
  const { sources: seen } = await stats({ deltas: [deltas[0], path], base: [path, base] }).next().then(async () =>
    (await load('node.js')).verify({ deltas: [deltas[0], path], base: [path, base] }),
  );
  assert.deepEqual(
    seen.map(({ role, group, path }) => [role, group, path]),
    [['delta', 0, 'deltas[0]'], ['delta', 1, 'base.safetensors'], ['base', 0, 'base.safetensors'], ['base', 0, 'base[1]']],
  );
});

for (const workers of [0, 2]) {
  for (const [dtype, round] of [['bad', 'first'], ['late', 'second']]) {
    test(`an error of the core in the ${round} round of tasks comes through, with ${workers} workers`, async () => {
      const output = join(home, 'new', 'out.safetensors');
      const error = await failing(() => decode({ base: path, deltas, workers, output, dtype }));
      assert.deepEqual(
        { ...error },
        { code: 'MALFORMED', name: 'WdeltaError', tensor: 'w', offset: 7, source: path, retryable: false },
      );
      assert.equal(error.message, 'record 3 is damaged');
    });
  }

  test(`a panic is INTERNAL, and the next call works, with ${workers} workers`, async () => {
    const waiting = tensors({ base });
    await waiting.next();
    const error = await failing(() => decode({ base: path, deltas, workers, output: join(home, 'out'), dtype: 'panic' }));
    assert.equal(error.code, 'INTERNAL');
    assert.match(error.message, /unreachable/);
    assert.equal((await decode({ base: path, deltas, workers })).sha256, sha256);
    // In the calling thread, a machine that was waiting has gone with its instance.
    if (workers) assert.equal((await waiting.next()).done, false);
    else await assert.rejects(waiting.next(), { code: 'INTERNAL', retryable: true });
    await waiting.return();
  });

  test(`an abort ends a task that never ends, with ${workers} workers`, async () => {
    const controller = new AbortController();
    const onProgress = ({ phase }) => phase === 'copying' && controller.abort('enough');
    const output = join(home, 'out');
    const error = await failing(() =>
      decode({ base: path, deltas, workers, output, dtype: 'endless', signal: controller.signal, onProgress }),
    );
    assert.equal(error.code, 'ABORTED');
    assert.equal(error.cause, 'enough');
  });
}

test('a signal that is aborted before starts nothing', async () => {
  const error = await failing(() => inspect(path, { signal: AbortSignal.abort() }));
  assert.equal(error.code, 'ABORTED');
});

for (const workers of [0, 1]) {
  test(`what onProgress throws ends the job, with ${workers} workers`, async () => {
    const onProgress = () => {
      throw new Error('mine');
    };
    const jobs = [() => decode({ base: path, deltas, workers, output: join(home, 'out'), onProgress }), () => tensors({ base: path, workers, onProgress }).next()];
    for (const job of jobs) {
      const error = await failing(job);
      assert.deepEqual([error.code, error.cause.message], ['USAGE', 'mine']);
    }
  });
}

test('a source that fails or gives too little ends the job', async () => {
  const object = (read) => ({ size: base.length, name: 'mine', read });
  const short = await failing(() => decode({ base: object((offset, length) => base.slice(offset, offset + length - 1)), deltas, workers: 1 }));
  assert.deepEqual([short.code, short.source], ['IO', 'mine']);
  assert.match(short.message, /gave 65535 instead of 65536 bytes/);
  const failed = await failing(() => decode({ base: object(() => Promise.reject(new Error('gone'))), deltas, workers: 0 }));
  assert.deepEqual([failed.code, failed.source, failed.cause.message], ['IO', 'mine', 'gone']);
});

test('pieces are the caller’s own, and a loop that stops closes its files', async () => {
  const before = openFiles();
  const pieces = [];
  for await (const { name, data } of tensors({ base: path, as: 'float32' })) {
    pieces.push([name, data]);
    if (pieces.length === 2) break;
  }
  assert.deepEqual(pieces.map(([name]) => name), ['t0', 't1024']);
  assert.ok(pieces[0][1] instanceof Float32Array);
  assert.deepEqual(new Uint8Array(pieces[0][1].buffer), base.slice(0, 4));
  assert.deepEqual(openFiles(), before);
  const first = await tensors({ base }).next();
  assert.deepEqual(first.value.data, base.slice(0, 4));
});

test('plan stops before the work and reports what is in the way of the output', async () => {
  const free = await plan({ job: 'decode', base: path, deltas, output: join(home, 'free') });
  assert.deepEqual([free.bytes, free.problems], [base.length, []]);
  const { problems } = await plan({ job: 'decode', base: path, deltas, output: path });
  assert.deepEqual([problems[0].severity, problems[0].code], ['error', 'USAGE']);
  assert.deepEqual(readdirSync(home), ['base.safetensors']);
  assert.deepEqual(readFileSync(path), Buffer.from(base));
});

const mistakes = {
  'an unknown option': [() => encode({ base, finetuned: base, outlierFractoin: 1 }), /did you mean outlierFraction/],
  'an option of another call': [() => decode({ base, deltas, sparsity: 1 }), /no option of decode\(\) called "sparsity"/],
  'a wrong type': [() => decode({ base, deltas, verify: 'no' }), /verify must be a boolean, not "no"/],
  'a number without end': [() => encode({ base, finetuned: base, ratio: Infinity }), /ratio must be a number or string, not Infinity/],
  'a number that is none': [() => encode({ base, finetuned: base, sparsity: NaN }), /sparsity must be a number or string, not NaN/],
  'a missing argument': [() => decode({ base }), /decode\(\) needs deltas/],
  'no delta': [() => decode({ base, deltas: [] }), /empty list/],
  'a folder as delta': [() => inspect(home + '/'), undefined],
  'two files as delta': [() => decode({ base, deltas: [[base, base]] }), /one \.wdelta file/],
  'workers that are no number': [() => decode({ base, deltas, workers: 1.5 }), /whole number/],
  'a source that is none': [() => decode({ base: 7, deltas }), /base is \[object Number\]/],
  'a promise of a source': [() => decode({ base: Promise.resolve('base'), deltas }), /base is \[object Promise\]; give a path/],
  'an output that is none': [() => decode({ base, deltas, output: {} }), /output must be/],
  'a Node stream as output': [() => decode({ base, deltas, output: process.stderr }), /Writable\.toWeb/],
  'a job that does not exist': [() => plan({ job: 'decod', base }), /did you mean decode/],
  'a plan of nothing': [() => plan(), /no job called undefined/],
  'a plan of null': [() => plan(null), /no job called undefined/],
  'a job that is no name': [() => plan({ job: 7 }), /no job called 7/],
  'a prototype name as option': [() => decode({ base, deltas, toString: 1 }), /no option/],
  'a job that no text says': [() => plan({ job: Object.create(null) }), /no job called an object/],
  'deltas of null': [() => decode({ base, deltas: null }), /deltas\[0\] is \[object Null\]/],
  'parents of null': [() => encode({ base, finetuned: base, parents: null }), /parents\[0\] is \[object Null\]/],
  'a signal of null': [() => decode({ base, deltas, signal: null }), /signal must be an AbortSignal, not null/],
  'options of null': [() => decode(null), /decode\(\) takes an object with base, deltas/],
  'an unknown option of init': [() => init({ wasm: 1 }), /no option of init/],
  'init of null': [() => init(null), /init\(\) takes an object with module, encoder, createWorker/],
  'init of a path': [() => init('wdelta_bg.wasm'), /init\(\) takes an object with module, encoder, createWorker/],
  'names that are none': [() => tensors({ base, names: [() => 1] }).next(), /names must be a list of names, not an object/],
  'rows that are none': [() => tensors({ base, rows: ['1', 2] }).next(), /rows must be a list of numbers, not an object/],
  'a module of null': [() => init({ module: null }), /module must be a URL, bytes or a WebAssembly\.Module, not null/],
  'a worker that is no function': [() => init({ createWorker: 'worker.js' }), /createWorker must be a function, not "worker\.js"/],
};
for (const [name, [call, message]] of Object.entries(mistakes)) {
  if (!message) continue;
  test(`${name} is refused`, async () => {
    const error = await failing(async () => call());
    assert.equal(error.code, 'USAGE');
    assert.match(error.message, message);
  });
}

test('a missing file is named, with its cause', async () => {
  const error = await failing(() => inspect(join(home, 'none.wdelta')));
  assert.deepEqual([error.code, error.source, error.cause.code], ['IO', join(home, 'none.wdelta'), 'ENOENT']);
  assert.match(error.message, /none\.wdelta cannot be read: there is no such file or folder/);
});

test('the version comes from the core', async () => assert.equal(await version(), '0.0.0-fake'));
