// The core that only reads, wdelta_read.wasm: everything but `encode`, with the same results.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeFile } from 'node:fs/promises';
import { install, sample } from './installed.mjs';

let installed;
before(async () => {
  installed = await install();
});
after(() => installed.remove());

/** Runs a module with the whole core, or with the one that reads; what it prints is JSON. */
async function run(core, text) {
  const module = join(installed.root, core);
  const program = `
    import * as wdelta from 'wdelta'
    await wdelta.init({ module: ${JSON.stringify(module)} })
    const [base, finetuned] = ${JSON.stringify(['base.safetensors', 'ft-sft.safetensors'].map((name) => join(sample, name)))}
    ${text}`;
  await writeFile(join(installed.folder, 'use.mjs'), program);
  const { code, stdout, stderr } = await installed.run(process.execPath, 'use.mjs');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

test('what reads deltas of both versions gives with it what the whole core gives', async () => {
  await run(
    'wdelta_bg.wasm',
    `for (const strategy of ['int4', 'sparse', 'quantized', 'lossless', 'lossy'])
       await wdelta.encode({ base, finetuned, strategy, output: strategy + '.wdelta' })
     console.log('{}')`,
  );
  const jobs = `
    import { createHash } from 'node:crypto'
    const sha = (bytes) => createHash('sha256').update(bytes).digest('hex')
    const all = []
    for (const strategy of ['int4', 'sparse', 'quantized', 'lossless', 'lossy']) {
      const deltas = [strategy + '.wdelta']
      for (const workers of [0, 2]) {
        const { data, ...report } = await wdelta.decode({ base, deltas, workers })
        all.push(sha(data), report)
        const pieces = []
        for await (const { name, data } of wdelta.tensors({ base, deltas, workers })) pieces.push([name, sha(data)])
        for await (const { name, histogram } of wdelta.stats({ base, deltas, workers })) pieces.push([name, histogram])
        all.push(pieces)
      }
      all.push(await wdelta.inspect(deltas[0]), await wdelta.verify({ base, deltas }), await wdelta.lineage({ base, deltas }))
      all.push(await wdelta.plan({ job: 'decode', base, deltas, output: 'out.safetensors' }))
    }
    all.push(await wdelta.diff({ a: base, b: finetuned }), await wdelta.hash({ model: base }))
    all.push(await wdelta.errorCodes(), await wdelta.version())
    console.log(JSON.stringify(all, (key, value) => key === 'seconds' ? undefined : value))`;
  const whole = await run('wdelta_bg.wasm', jobs);
  assert.ok(whole.length > 40);
  assert.deepEqual(await run('wdelta_read.wasm', jobs), whole);
});

test('it refuses to make a delta, and says which core does', async () => {
  const said = await run(
    'wdelta_read.wasm',
    `const said = []
     for (const workers of [0, 2]) {
       await wdelta.encode({ base, finetuned, workers }).catch(({ code, message }) => said.push([code, message]))
       await wdelta.plan({ job: 'encode', base, finetuned, workers }).catch(({ code, message }) => said.push([code, message]))
     }
     console.log(JSON.stringify(said))`,
  );
  assert.equal(said.length, 4);
  for (const [code, message] of said) {
    assert.equal(code, 'USAGE');
    assert.match(message, /only reads deltas.*wdelta_bg\.wasm/);
  }
});
