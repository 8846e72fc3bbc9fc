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

/** Runs a module with the whole core, or with the one that reads, and one that workers encode with; what it prints is JSON. */
async function run(core, text, encoder) {
  const [module, other] = [core, encoder].map((name) => name && JSON.stringify(join(installed.root, name)));
  const program = `
    import * as wdelta from 'wdelta'
    await wdelta.init({ module: ${module}, encoder: ${other} })
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

test('beside it, workers make deltas with the whole core, of small models too', async () => {
  const makes = `
    import { createHash } from 'node:crypto'
    const sha = (bytes) => createHash('sha256').update(bytes).digest('hex')
    const all = []
    for (const strategy of ['int4', 'lossless', 'lossy']) {
      for (const workers of [undefined, 1, 2]) {
        all.push(await wdelta.plan({ job: 'encode', base, finetuned, strategy, workers }))
        const { data, ...report } = await wdelta.encode({ base, finetuned, strategy, workers })
        const rebuilt = await wdelta.decode({ base, deltas: [data], workers })
        all.push(sha(data), report, sha(rebuilt.data), await wdelta.inspect(data))
      }
    }
    console.log(JSON.stringify(all, (key, value) => key === 'seconds' ? undefined : value))`;
  const whole = await run('wdelta_bg.wasm', makes);
  assert.equal(whole.length, 45);
  assert.deepEqual(await run('wdelta_read.wasm', makes, 'wdelta_bg.wasm'), whole);
});

test('that core is loaded with the first delta that is made, and is missed only then', async () => {
  const said = await run(
    'wdelta_read.wasm',
    `const all = [(await wdelta.diff({ a: base, b: finetuned, workers: 2 })).tensors.length]
     for (let n = 0; n < 2; n++) await wdelta.encode({ base, finetuned }).catch(({ code, message }) => all.push([code, message]))
     await wdelta.encode({ base, finetuned, workers: 0 }).catch(({ code, message }) => all.push([code, message]))
     console.log(JSON.stringify(all))`,
    'no-such.wasm',
  );
  assert.equal(said.length, 4);
  assert.ok(said[0] > 0);
  for (const [code, message] of said.slice(1, 3)) {
    assert.equal(code, 'IO');
    assert.match(message, /core cannot be loaded from .*no-such\.wasm.*init\(/);
  }
  const [code, message] = said[3];
  assert.equal(code, 'USAGE');
  assert.match(message, /only reads deltas.*or leave workers out/);
});
