// The installed package in Node: import, workers, command line, types.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { install, repository, sample } from './installed.mjs';

let installed;
const base = join(sample, 'base.safetensors');
const finetuned = join(sample, 'ft-sft.safetensors');

before(async () => {
  installed = await install();
});
after(() => installed.remove());

async function digest(path) {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

/** Runs a module in the user's folder; what it prints is JSON. */
async function runModule(name, text) {
  await writeFile(join(installed.folder, name), text);
  const { code, stdout, stderr } = await installed.run(process.execPath, name);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

test('a core that is none is refused in words, and the next call loads the right one', async () => {
  const result = await runModule(
    'core.mjs',
    `
    import { init, version, WdeltaError } from 'wdelta'
    const said = []
    // The last one is a module, only not ours.
    for (const module of [new Uint8Array(4), './none.wasm', {}, Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)])
      await init({ module }).catch((error) => said.push([error instanceof WdeltaError, error.code, error.message]))
    console.log(JSON.stringify({ said, version: await version() }))
    `,
  );
  assert.deepEqual(result.said.map(([ours, code]) => [ours, code]), Array(4).fill([true, 'IO']));
  assert.match(result.said[0][2], /^the core cannot be loaded from what was given \(.*\); name it with init/);
  assert.match(result.said[1][2], /^the core cannot be loaded from \.\/none\.wasm \(.*ENOENT/);
  assert.match(result.version, /^\d/);
});

test('an empty path is refused as such', async () => {
  const said = await runModule(
    'empty.mjs',
    `
    import { encode, inspect } from 'wdelta'
    const said = []
    await inspect('').catch(({ code, message }) => said.push(code + ': ' + message))
    await encode({ base: ${JSON.stringify(base)}, finetuned: '' }).catch(({ code, message }) => said.push(code + ': ' + message))
    console.log(JSON.stringify(said))
    `,
  );
  assert.deepEqual(said, Array(2).fill('USAGE: a path is empty; name a file or a folder'));
});

test('imported by name, it encodes, inspects, verifies and decodes, alike with and without workers', async () => {
  const result = await runModule(
    'use.mjs',
    `
    import * as wdelta from 'wdelta'
    import { readFile } from 'node:fs/promises'
    const [base, finetuned] = ${JSON.stringify([base, finetuned])}
    const deltas = []
    for (const workers of [0, 2]) {
      await wdelta.encode({ base, finetuned, output: 'chat' + workers + '.wdelta', workers })
      deltas.push(await readFile('chat' + workers + '.wdelta'))
    }
    const memory = await wdelta.encode({ base: await readFile(base), finetuned: new File([await readFile(finetuned)], 'ft-sft.safetensors') })
    const seen = await wdelta.inspect(new Uint8Array(deltas[0]))
    const alone = await wdelta.verify({ deltas: [new Uint8Array(deltas[0])] })
    const rebuilt = []
    for (const workers of [0, 2]) rebuilt.push((await wdelta.decode({ base, deltas: ['chat0.wdelta'], workers })).data)
    await wdelta.decode({ base, deltas: 'chat0.wdelta', output: 'chat.safetensors', workers: 2 })
    console.log(JSON.stringify({
      exports: Object.keys(wdelta).sort(),
      version: await wdelta.version(),
      strategy: seen.strategy, tensors: seen.tensors.length,
      ok: alone.ok,
      sameDelta: deltas[0].equals(deltas[1]) && deltas[0].equals(memory.data),
      sameModel: Buffer.from(rebuilt[0]).equals(rebuilt[1]) && (await readFile('chat.safetensors')).equals(rebuilt[0]),
      size: rebuilt[0].length,
    }))
  `,
  );
  const { version } = JSON.parse(await readFile(join(installed.root, 'package.json'), 'utf8'));
  for (const name of [
    'inspect',
    'plan',
    'encode',
    'decode',
    'verify',
    'tensors',
    'lineage',
    'stats',
    'diff',
    'hash',
    'init',
    'version',
    'WdeltaError',
  ]) {
    assert.ok(result.exports.includes(name), name);
  }
  delete result.exports;
  assert.deepEqual(result, {
    version,
    strategy: 'lossless',
    tensors: 47,
    ok: true,
    sameDelta: true,
    sameModel: true,
    size: (await readFile(base)).length,
  });
  assert.deepEqual(
    (await readdir(installed.folder)).filter((name) => /tmp|part/.test(name)),
    [],
  );
});

test('lossless deltas are alike from every kind of output, and give the fine-tune back byte for byte', async () => {
  const result = await runModule(
    'lossless.mjs',
    `
    import * as wdelta from 'wdelta'
    import { mkdir, readFile } from 'node:fs/promises'
    const [base, finetuned] = ${JSON.stringify([base, finetuned])}
    const options = { base, finetuned, strategy: 'lossless' }
    const deltas = []
    for (const workers of [0, 1, 2]) {
      await wdelta.encode({ ...options, output: 'exact' + workers + '.wdelta', workers })
      deltas.push(await readFile('exact' + workers + '.wdelta'))
    }
    await mkdir('folder')
    await wdelta.encode({ ...options, output: 'folder/' })
    deltas.push(await readFile('folder/delta.wdelta'))
    const parts = []
    await wdelta.encode({ ...options, output: new WritableStream({ write: (bytes) => void parts.push(bytes) }) })
    deltas.push(Buffer.concat(parts))
    const memory = await wdelta.encode(options)
    const efforts = []
    for (const effort of [0, 2, 3]) efforts.push((await wdelta.encode({ ...options, effort })).bytes)
    const seen = await wdelta.inspect(new Uint8Array(memory.data))
    const alone = await wdelta.verify({ deltas: [new Uint8Array(memory.data)] })
    const rebuilt = []
    for (const workers of [0, 2]) rebuilt.push((await wdelta.decode({ base, deltas: [memory.data], workers })).data)
    const damaged = Uint8Array.from(memory.data)
    damaged[damaged.length >> 1] ^= 1
    const codes = []
    for (const call of [
      () => wdelta.decode({ base, deltas: [damaged] }),
      () => wdelta.verify({ deltas: [damaged] }),
      () => wdelta.decode({ base: finetuned, deltas: [memory.data] }),
      () => wdelta.encode({ ...options, effort: 4 }),
      () => wdelta.encode({ ...options, strategy: 'int4', effort: 1 }),
    ]) codes.push(await call().then(() => 'done', (error) => error.code))
    const exact = await readFile(finetuned)
    console.log(JSON.stringify({
      version: seen.version, strategy: seen.strategy, tensors: seen.tensors.length, ok: alone.ok,
      sameDelta: deltas.every((delta) => delta.equals(memory.data)) && memory.bytes === memory.data.length,
      sameModel: rebuilt.every((model) => exact.equals(model)),
      // The last level tries more, which on small models may come out a few bytes longer.
      smallerAtMore: efforts[0] > efforts[1] && efforts[1] * 1.001 > efforts[2],
      codes,
    }))
  `,
  );
  assert.deepEqual(result, {
    version: 2,
    strategy: 'lossless',
    tensors: 47,
    ok: true,
    sameDelta: true,
    sameModel: true,
    smallerAtMore: true,
    codes: ['CHECKSUM', 'CHECKSUM', 'WRONG_BASE', 'USAGE', 'USAGE'],
  });
});

test('only what the manifest lists can be imported', async () => {
  const result = await runModule(
    'resolve.mjs',
    `
    const found = {}
    for (const name of ['wdelta', 'wdelta/worker.js', 'wdelta/wdelta_bg.wasm', 'wdelta/package.json', 'wdelta/index.js', 'wdelta/wdelta.js', 'wdelta/cli.js']) {
      try { found[name] = import.meta.resolve(name).split('/').at(-1) } catch (error) { found[name] = error.code }
    }
    console.log(JSON.stringify(found))
  `,
  );
  const hidden = 'ERR_PACKAGE_PATH_NOT_EXPORTED';
  assert.deepEqual(result, {
    wdelta: 'node.js',
    'wdelta/worker.js': 'worker.js',
    'wdelta/wdelta_bg.wasm': 'wdelta_bg.wasm',
    'wdelta/package.json': 'package.json',
    'wdelta/index.js': hidden,
    'wdelta/wdelta.js': hidden,
    'wdelta/cli.js': hidden,
  });
});

test('errors are WdeltaErrors with a code', async () => {
  const result = await runModule(
    'fail.mjs',
    `
    import { inspect, WdeltaError } from 'wdelta'
    const codes = []
    // The name of the last one is no text.
    for (const input of [new Uint8Array(100), 'missing.wdelta', ${JSON.stringify(base)}, { size: 100, name: new URL('file:///a'), read: (_, length) => new Uint8Array(length) }]) {
      try { await inspect(input) } catch (error) { codes.push(error instanceof WdeltaError && error instanceof Error ? error.code : String(error)) }
    }
    console.log(JSON.stringify(codes))
  `,
  );
  assert.deepEqual(result, ['NOT_WDELTA', 'IO', 'NOT_WDELTA', 'NOT_WDELTA']);
});

test('the command runs from node_modules/.bin', async () => {
  const wdelta = (...args) => installed.run(join(installed.folder, 'node_modules/.bin/wdelta'), ...args);
  const { version } = JSON.parse(await readFile(join(installed.root, 'package.json'), 'utf8'));
  assert.match((await wdelta('--version')).stdout, new RegExp(version.replaceAll('.', '\\.')));
  for (const [workers, output] of [
    ['1', 'one.wdelta'],
    ['2', 'two.wdelta'],
  ]) {
    const { code, stderr } = await wdelta(
      'encode',
      '--base',
      base,
      '--finetuned',
      finetuned,
      '-o',
      output,
      '--strategy',
      'sparse',
      '--workers',
      workers,
      '--quiet',
    );
    assert.equal(code, 0, stderr);
  }
  const [one, two] = [join(installed.folder, 'one.wdelta'), join(installed.folder, 'two.wdelta')];
  assert.equal(await digest(one), await digest(two));
  const shown = await wdelta('inspect', 'one.wdelta', '--json');
  assert.match(JSON.stringify(JSON.parse(shown.stdout)), /"strategy":"sparse"/);
  const { code, stderr } = await wdelta('decode', '--base', base, '-o', 'rebuilt.safetensors', 'one.wdelta', '--quiet');
  assert.equal(code, 0, stderr);
  assert.equal((await readFile(join(installed.folder, 'rebuilt.safetensors'))).length, (await readFile(base)).length);
  const wrong = await wdelta('decode', '--base', finetuned, '-o', 'wrong.safetensors', 'one.wdelta');
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /WRONG_BASE|base/);
  assert.equal((await wdelta('nonsense')).code, 2);
  assert.ok(!(await readdir(installed.folder)).includes('wrong.safetensors'));
});

test('what a job reads is not replaced by its result, not even by force', async () => {
  const model = join(installed.folder, 'own.safetensors');
  await copyFile(base, model);
  await symlink(model, join(installed.folder, 'link.safetensors'));
  const before = await digest(model);
  for (const output of [model, 'link.safetensors', 'own.safetensors']) {
    const { code, stderr } = await installed.run(join(installed.folder, 'node_modules/.bin/wdelta'), 'encode', '--base', model, '--finetuned', finetuned, '-o', output, '--force');
    assert.equal(code, 2);
    assert.match(stderr, /safetensors is an input; choose another output/);
  }
  assert.equal(await digest(model), before);
});

for (const resolution of ['nodenext', 'bundler']) {
  test(`types resolve with moduleResolution ${resolution}`, async () => {
    await writeFile(
      join(installed.folder, 'use.ts'),
      `
      import { decode, encode, inspect, stats, tensors, verify, WdeltaError } from 'wdelta'
      const seen = await inspect(new Uint8Array(10))
      const names: string[] = seen.tensors.map(tensor => tensor.name)
      const ok: boolean = (await verify({ deltas: [new Uint8Array(10)] })).ok
      const report = await encode({ base: 'base', finetuned: 'chat', output: 'chat.wdelta', strategy: 'int4', signal: new AbortController().signal })
      const error: number | null = report.relativeError
      const rebuilt = await decode({ base: 'base', deltas: ['chat.wdelta'], dtype: 'base', onProgress: event => event.done / event.total })
      for await (const piece of tensors({ base: 'base', deltas: ['chat.wdelta'], as: 'float32' })) piece.data.byteLength
      for await (const one of stats({ deltas: ['chat.wdelta'] })) one.rms.toFixed()
      const code: string = new WdeltaError('USAGE', 'text').code
      // @ts-expect-error: no such strategy
      await encode({ base: 'base', finetuned: 'chat', strategy: 'int5' })
      export { names, ok, error, rebuilt, code }
    `,
    );
    // Everything is checked, the declarations too, with nothing of ours but the package in reach.
    const compilerOptions = {
      noEmit: true,
      strict: true,
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable', 'dom.asynciterable'],
      module: resolution === 'nodenext' ? 'nodenext' : 'esnext',
      moduleResolution: resolution,
      types: [],
    };
    await writeFile(join(installed.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }));
    const tsc = join(repository, 'pkg-scripts/node_modules/typescript/bin/tsc');
    const { code, stdout } = await installed.run(process.execPath, tsc, '-p', '.');
    assert.equal(code, 0, stdout);
  });
}
