// Workers between jobs: used again, unless they died meanwhile, and without what the job before left in them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { noise, stage } from './stage.mjs';

const { load, path } = stage();
const { decode, init, plan } = await load('node.js');
const base = noise(300_000);
const deltas = [new Uint8Array(3)];

/** The workers that are made from now on. */
async function watched() {
  const made = [];
  await init({
    createWorker() {
      const worker = new Worker(join(path, 'worker-node.js'), { execArgv: [] });
      made.push(worker);
      return worker;
    },
  });
  return made;
}

test('a worker is used again, and one that died is not', async () => {
  const made = await watched();
  for (let i = 0; i < 2; i++) await decode({ base, deltas, workers: 1 });
  assert.equal(made.length, 1);
  await Promise.all([once(made[0], 'exit'), made[0].terminate()]);
  const { bytes } = await decode({ base, deltas, workers: 1 });
  assert.deepEqual([bytes, made.length], [base.length, 2]);
  await Promise.all(made.map((worker) => worker.terminate()));
});

test('workers start while the headers are read, and none for a plan', async () => {
  const made = await watched();
  const seen = [];
  const source = {
    size: base.length,
    read(offset, length) {
      seen.push(made.length);
      return base.slice(offset, offset + length);
    },
  };
  await plan({ job: 'decode', base: source, deltas, dtype: 'head', workers: 3 });
  assert.deepEqual(seen, [0]);
  await decode({ base: source, deltas, dtype: 'head', workers: 3 });
  assert.deepEqual([seen[1], made.length], [3, 3]);
  await Promise.all(made.map((worker) => worker.terminate()));
});

for (const [name, made] of Object.entries({ nothing: undefined, 'an object that is no worker': {}, 'a promise': Promise.resolve() })) {
  test(`${name} instead of a worker is refused in words`, async () => {
    await init({ createWorker: () => made });
    await assert.rejects(decode({ base, deltas, workers: 1 }), { code: 'IO', message: /^a worker cannot be started \(.+\); make it with init\({ createWorker }\), or pass workers: 0$/ });
  });
}

test('a worker that made a plan frees what it opened before it does something else', async () => {
  const { serve } = await load('worker.js');
  const core = await load('wdelta.js');
  const { load: start } = await load('core.js');
  const waiting = new Map();
  const receive = serve(({ id, reply, error }) => waiting.get(id)?.(error ? Promise.reject(error) : reply));
  let asked = 0;
  const ask = (question) =>
    new Promise((resolve) => {
      waiting.set(++asked, resolve);
      receive({ id: asked, question });
    });
  await ask({ type: 'init', module: await start() });
  const before = core.alive;
  const list = [{ role: 'base', group: 0, path: 'a', size: 100 }];
  await ask({ type: 'job', sources: 1, names: ['a'], ports: [], sizes: Float64Array.of(100) });
  await ask({ type: 'lead', kind: 'decode', options: {}, list });
  const [{ kind }] = await ask({ type: 'next' });
  assert.deepEqual([kind, core.alive - before], ['plan', 1]);
  // A task without anything to do.
  const spec = new TextEncoder().encode(JSON.stringify({ file: 0, sink: 0, start: 0, end: 0 }));
  await ask({ type: 'task', spec });
  assert.equal(core.alive, before);
});
