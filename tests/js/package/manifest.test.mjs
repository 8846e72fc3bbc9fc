// What the manifest names exists, and the tarball holds the package and nothing else.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { list } from '../../../pkg-scripts/lib/files.mjs';
import { install, repository } from './installed.mjs';

const pkg = join(repository, 'pkg');
const manifest = JSON.parse(readFileSync(join(pkg, 'package.json'), 'utf8'));
let installed;

before(async () => {
  installed = await install();
});
after(() => installed.remove());

/** Every file that an exports entry can lead to. */
function targets(entry) {
  return typeof entry === 'string' ? [entry] : Object.values(entry).flatMap(targets);
}

test('the manifest is complete and has no dependencies', () => {
  assert.equal(manifest.name, 'wdelta');
  assert.equal(manifest.type, 'module');
  assert.equal(manifest.license, 'MIT');
  assert.equal(manifest.version, /^version = "(.*)"$/m.exec(readFileSync(join(repository, 'Cargo.toml'), 'utf8'))[1]);
  assert.equal(manifest.engines.node, '>=20');
  assert.ok(manifest.description.length > 20);
  for (const kind of ['dependencies', 'devDependencies', 'peerDependencies', 'optionalDependencies', 'scripts'])
    assert.ok(!(kind in manifest), kind);
});

test('every export exists, types come first, wasm and worker are listed', () => {
  for (const [name, entry] of Object.entries(manifest.exports)) {
    for (const target of targets(entry)) assert.ok(existsSync(join(pkg, target)), `${name}: ${target}`);
    if (typeof entry === 'object') assert.equal(Object.keys(entry)[0], 'types', name);
  }
  assert.deepEqual(Object.keys(manifest.exports['.']), ['types', 'node', 'browser', 'default']);
  for (const name of ['./worker.js', './wdelta_bg.wasm', './wdelta_read.wasm', './package.json']) assert.ok(name in manifest.exports, name);
  assert.equal(manifest.types, manifest.exports['.'].types);
});

test('every module has types, and what has side effects exists', () => {
  for (const path of installed.packed.filter((path) => path.endsWith('.js')))
    assert.ok(installed.packed.includes(path.replace(/\.js$/, '.d.ts')), path);
  for (const path of manifest.sideEffects) assert.ok(existsSync(join(pkg, path)), path);
});

test('a module that is imported for what it does, and not for what it exports, is one with side effects', () => {
  const asked = list(pkg)
    .filter((path) => path.endsWith('.js'))
    .flatMap((path) => [...readFileSync(join(pkg, path), 'utf8').matchAll(/^import '(.+)';$/gm)].map(([, name]) => `./${join(path, '..', name)}`));
  assert.ok(asked.includes('./errors-node.js'), 'the search finds some');
  // What is not named here, bundlers leave out.
  for (const path of asked) assert.ok(manifest.sideEffects.includes(path), path);
});

test('the types suit a strict TypeScript project, whatever its target', async () => {
  const program = `import { encode, inspect, tensors } from 'wdelta';
    const { data } = await encode({ base: new Uint8Array(), finetuned: new Blob(['x']) });
    for await (const { name, shape } of tensors({ base: 'model', deltas: data ? [data] : [] })) console.log(name.length + shape.length);
    export const hash: string = (await inspect('file.wdelta')).baseHash;
    export async function use(file: FileSystemFileHandle, folder: FileSystemDirectoryHandle, list: FileList) {
      const parts: BlobPart[] = [];
      const { data } = await encode({ base: folder, finetuned: list, parents: [file] });
      if (data) parts.push(data);
      for await (const piece of tensors({ base: list })) parts.push(piece.data);
      await encode({ base: folder, finetuned: file, output: { write: (_, bytes) => parts.push(bytes), close() {} } });
      return new Blob(parts);
    }
  `;
  writeFileSync(join(installed.folder, 'program.ts'), program);
  const compiler = join(repository, 'pkg-scripts/node_modules/typescript/bin/tsc');
  for (const target of ['es2022', 'esnext']) {
    for (const module of ['nodenext', 'preserve']) {
      const resolution = module === 'preserve' ? 'bundler' : 'nodenext';
      const options = { noEmit: true, strict: true, types: [], target, module, moduleResolution: resolution };
      writeFileSync(join(installed.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['program.ts'] }));
      const { code, stdout } = await installed.run(process.execPath, compiler);
      assert.equal(code, 0, `${target} ${module}: ${stdout}`);
    }
  }
});

test('the types suit a strict project for Node that does not know a browser', async () => {
  const program = `import { encode, init, tensors } from 'wdelta';
    const { bytes } = await encode({ base: 'base/', finetuned: new URL('file:///chat'), output: 'chat.wdelta' });
    for await (const { rows } of tensors({ base: ['a', 'b'] })) console.log(rows[0] + bytes);
    await init({ module: new Uint8Array() });
    // @ts-expect-error: no model
    await encode({ base: 5, finetuned: 'chat/' });
    // @ts-expect-error: no output
    await encode({ base: 'base/', finetuned: 'chat/', output: 5 });
  `;
  writeFileSync(join(installed.folder, 'node.ts'), program);
  const options = { noEmit: true, strict: true, types: ['node'], typeRoots: [join(repository, 'pkg-scripts/node_modules/@types')], target: 'es2022', lib: ['es2023'], module: 'nodenext' };
  writeFileSync(join(installed.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['node.ts'] }));
  const { code, stdout } = await installed.run(process.execPath, join(repository, 'pkg-scripts/node_modules/typescript/bin/tsc'));
  assert.equal(code, 0, stdout);
});

test('the command is executable and starts with a line for node', () => {
  const path = join(pkg, manifest.bin.wdelta);
  assert.match(readFileSync(path, 'utf8'), /^#!\/usr\/bin\/env node\n/);
  assert.equal(statSync(path).mode & 0o111, 0o111);
});

test('the README has every call and every error code', async () => {
  const library = await import('../../../pkg/node.js');
  await library.init();
  const readme = readFileSync(join(pkg, 'README.md'), 'utf8');
  for (const name of Object.keys(library)) assert.match(readme, new RegExp(`^\\|.*\`${name}\\b`, 'm'), name);
  const codes = [...readme.matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, code]) => code);
  assert.deepEqual(codes.sort(), (await library.errorCodes()).map(({ code }) => code).sort());
});

test('the tarball holds the package, whole and alone', () => {
  assert.deepEqual(installed.packed, list(pkg));
  assert.deepEqual(list(installed.root), list(pkg));
  for (const path of ['README.md', 'LICENSE', 'CHANGELOG.md', 'wdelta_bg.wasm', 'wdelta_read.wasm', 'worker.js'])
    assert.ok(installed.packed.includes(path), path);
  assert.deepEqual(
    installed.packed.filter((path) => /test|\.rs$|\.map$|^src/.test(path)),
    [],
  );
});

test('no file of the package names a folder of the machine it was built on', () => {
  const home = process.env.HOME ?? '/root';
  for (const path of installed.packed) {
    const text = readFileSync(join(pkg, path), 'latin1');
    for (const machine of [repository.replace(/\/$/, ''), `${home}/.cargo`, `${home}/.rustup`])
      assert.ok(!text.includes(machine), `${path} contains ${machine}`);
  }
});
