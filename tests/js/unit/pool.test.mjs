// Workers between jobs: used again, unless they died meanwhile, and without what the job before left in them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { noise, stage } from './stage.mjs';

const { load, path } = stage();
const { decode, init } = await load('node.js');
const base = noise(300_000);
const deltas = [new Uint8Array(3)];

test('a worker is used again, and one that died is not', async () => {
  const made = [];
  await init({
    createWorker() {
      const worker = new Worker(join(path, 'worker-node.js'), { execArgv: [] });
      made.push(worker);
      return worker;
    },
  });
  for (let i = 0; i < 2; i++) await decode({ base, deltas, workers: 1 });
  assert.equal(made.length, 1);
  await Promise.all([once(made[0], 'exit'), made[0].terminate()]);
  const { bytes } = await decode({ base, deltas, workers: 1 });
  assert.deepEqual([bytes, made.length], [base.length, 2]);
  await Promise.all(made.map((worker) => worker.terminate()));
});
