// Time of version 2 on a large pair, as multiples of a plain copy of the base on the same disk.
//
//   node benches/against_copy.mjs PAIR [RUNS] [WORKERS]
//
// PAIR holds `base/model.safetensors` and `finetuned/model.safetensors` (tests/interop/make_large_pair.py makes one). The copy
// reads and writes through one buffer of 4 MiB; copy, encode and decode all sync what they wrote. They take turns; the
// medians are shown, with the processor time of all threads. The package is loaded before the clock starts.
import { closeSync, fsyncSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode, encode, init } from '../pkg/node.js';

const [pair, runs = '5', workers = '2'] = process.argv.slice(2);
if (!pair) {
  console.error('usage: node benches/against_copy.mjs PAIR [RUNS] [WORKERS]');
  process.exit(2);
}
const [base, finetuned] = ['base', 'finetuned'].map((name) => join(pair, name, 'model.safetensors'));
const folder = mkdtempSync(join(process.env.WDELTA_BENCH_FOLDER ?? tmpdir(), 'wdelta-bench-'));
const [copied, exact, quick, rebuilt] = ['copy', 'exact.wdelta', 'quick.wdelta', 'rebuilt'].map((name) => join(folder, name));

function copy() {
  const buffer = Buffer.alloc(4 << 20);
  const [from, to] = [openSync(base), openSync(copied, 'w')];
  for (let n; (n = readSync(from, buffer)) > 0; ) writeSync(to, buffer, 0, n);
  fsyncSync(to);
  closeSync(from);
  closeSync(to);
}

const call = { workers: Number(workers), force: true };
const write = { base, finetuned, strategy: 'lossless', ...call };
const jobs = {
  copy,
  'encode, effort 0': () => encode({ ...write, effort: 0, output: quick }),
  'encode, no low rank': () => encode({ ...write, lowRank: 'off', output: exact }),
  decode: () => decode({ base, deltas: [exact], output: rebuilt, ...call }),
};

await init();
const times = Object.fromEntries(Object.keys(jobs).map((name) => [name, []]));
try {
  for (let run = 0; run < Number(runs); run++) {
    for (const [name, job] of Object.entries(jobs)) {
      const [start, cpu] = [performance.now(), process.cpuUsage()];
      await job();
      const { user, system } = process.cpuUsage(cpu);
      times[name].push({ wall: (performance.now() - start) / 1e3, cpu: (user + system) / 1e6 });
    }
  }
  const median = (name, key) => times[name].map((one) => one[key]).sort((a, b) => a - b)[Number(runs) >> 1];
  const size = statSync(base).size;
  console.log(`${(size / 1e6).toFixed(0)} MB, ${workers} workers, median of ${runs}; delta ${(statSync(exact).size / size).toFixed(3)} of the model\n`);
  console.log('| job | seconds | times a copy | CPU seconds |\n|---|---:|---:|---:|');
  for (const name of Object.keys(jobs)) {
    const wall = median(name, 'wall');
    console.log(`| ${name} | ${wall.toFixed(2)} | ${(wall / median('copy', 'wall')).toFixed(2)} | ${median(name, 'cpu').toFixed(2)} |`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
