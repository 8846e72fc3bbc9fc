#!/usr/bin/env node
// Builds the npm package into pkg/, or with --site DIR also the static site into DIR.
//
//   cargo -> wasm-bindgen -> locations of panics -> wasm-opt -> types from JSDoc -> pkg/ -> size budgets
//
// The core is built twice: whole, and without what makes deltas, for sites that only read them. Both have the same glue.
//
// Steps whose inputs have not changed are left out.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { digest, list, once, sync } from './lib/files.mjs';
import { withoutLocations } from './lib/locations.mjs';
import { BuildError, capture, pkg, root, run, script, scripts, work } from './lib/run.mjs';

const TARGET = 'wasm32-unknown-unknown';
// Like functions beside each other compress better. Functions with one caller stay apart unless they are tiny: loops in functions of their own are
// compiled sooner and better by engines, and have fewer variables to number. Nothing lies below 1 KiB: the stack does, and grows downwards to it.
const WASM_OPT = ['-O3', '--one-caller-inline-max-function-size=20', '--low-memory-unused', '--reorder-functions-by-name', '--strip-debug', '--strip-producers'];
/** The glue is generated: nobody reads it, and it is large for what it does. */
const TERSER = ['--module', '--ecma', '2020', '--compress', 'passes=2', '--mangle'];
const types = `${work}/types`;

/** A core that is built, and where. */
class Core {
  /**
   * @param {string} name of its file in the package
   * @param {...string} features flags of cargo
   */
  constructor(name, ...features) {
    this.name = name;
    this.features = features;
    this.folder = `${work}/${name.replace('.', '-')}`;
    this.wasm = `${this.folder}/wdelta_bg.wasm`;
    this.glue = `${this.folder}/wdelta.js`;
    this.types = `${this.folder}/wdelta.d.ts`;
  }
}

const whole = new Core('wdelta_bg.wasm');
const reading = new Core('wdelta_read.wasm', '--no-default-features');

/**
 * Compiles the crate and gives the module's path.
 * @param {Core} core
 */
function compile({ features }) {
  // Panic messages carry source paths: make them the same on every machine.
  const home = process.env.CARGO_HOME ?? `${homedir()}/.cargo`;
  const flags = [`--remap-path-prefix=${home}=cargo`, `--remap-path-prefix=${root}=wdelta`];
  const env = process.env.WDELTA_WASM_TOOLCHAIN ? { RUSTUP_TOOLCHAIN: process.env.WDELTA_WASM_TOOLCHAIN } : {};
  const { target_directory: folder } = JSON.parse(capture('cargo', ['metadata', '--format-version', '1', '--no-deps', '--offline']));
  // In one folder the two would replace each other, and each be compiled anew every time.
  const target = features.length > 0 ? `${folder}/reading` : folder;
  run(
    'cargo',
    ['build', '--release', '--locked', '--lib', ...features, '--target-dir', target, '--target', TARGET, '--config', `target.${TARGET}.rustflags=${JSON.stringify(flags)}`],
    env,
  );
  return `${target}/${TARGET}/release/wdelta.wasm`;
}

/**
 * Takes out of the glue what is not used: the loader, since the package compiles the module itself and starts it with `initSync({ module })`,
 * other ways to call that, what browsers without SIMD lack, checks of what is always so, and disposal, which `core.js` does by `free`.
 * @param {Core} core
 */
function lighten({ folder }) {
  for (const [path, part, rest] of /** @type {const} */ ([
    ['wdelta.js', /export \{ initSync, __wbg_init as default \};/, 'export { initSync };'],
    ['wdelta.js', /if \(module !== undefined\) \{[^]*?\n\n(    const imports[^\n]*\n)    if \(!\(module instanceof [^]*?\n    \}\n/, '({ module } = module);\n$1'],
    // `core.js` calls it once, and again where the module was another one and did not start.
    ['wdelta.js', /    if \(wasm !== undefined\) return wasm;\n/, ''],
    ['wdelta.js', /if \(!\('encodeInto' in [^]*?\n\}\n/, ''],
    ['wdelta.js', /if \(Symbol\.dispose\) [^\n]*\n/g, ''],
    // One way to pass strings does for all of them.
    ['wdelta.js', /(?<=function passStringToWasm0\(arg, malloc), realloc\) \{[^]*?(?=\n\}\n)/, ') {\n    return passArray8ToWasm0(cachedTextEncoder.encode(arg), malloc);'],
    ['wdelta.js', /, wasm\.__wbindgen_realloc/g, ''],
    ['wdelta.js', /if \(typeof \w+ !== 'undefined'\) (?=\w+ = 0)/g, ''],
    // The module's own start calls it.
    ['wdelta.js', /export function start\(\) \{[^]*?\n\}\n/, ''],
    ['wdelta.d.ts', /export function start\(\)[^\n]*\n/, ''],
    // Where the core fails between two of its allocations, all its memory is thrown away.
    ['wdelta.js', / *try \{\n([^}]*?) *\} catch \(e\) \{\n[^]*?throw e;\n *\}\n/, '$1'],
    // `core.js` knows which objects are of an earlier instance.
    ['wdelta.js', /if \(this\.__wbg_inst !== undefined && [^]*?\n        \}\n/g, ''],
    ['wdelta.js', /[^\n]*'__wbg_inst'[^\n]*\n/g, ''],
    // Nothing schedules that the next call makes a new instance.
    ['wdelta.js', /function __wbg_call_guard\(\) \{[^]*?\n\}\n/, ''],
    ['wdelta.js', /__wbg_call_guard\(\);/g, ''],
    ['wdelta.js', /[^\n]*\b__wbg_reinit_scheduled = false;/g, ''],
    ['wdelta.js', /(\w+) === null \|\| \1\.buffer\.detached [^]*?(?=\) \{)/, '$1?.buffer !== wasm.memory.buffer'],
    ['wdelta.js', /\(typeof FinalizationRegistry === 'undefined'\)\s*\? [^]*?\s*: new/g, 'new'],
    ['wdelta.d.ts', /\/\*\*\n(?: \*[^\n]*\n)+export default function __wbg_init [^]*$/, ''],
  ])) {
    const text = readFileSync(`${folder}/${path}`, 'utf8');
    if (text.search(part) < 0) throw new BuildError(`${path}, as wasm-bindgen wrote it, has no ${part}.`);
    writeFileSync(`${folder}/${path}`, text.replace(part, rest));
  }
}

/**
 * Makes a core as it is loaded, with its glue, of what cargo made.
 * @param {Core} core
 */
function bind(core) {
  const { name, folder, wasm, glue } = core;
  const module = compile(core);
  const version = capture('wasm-bindgen', ['--version']).trim();
  const binaryen = JSON.parse(readFileSync(`${scripts}/node_modules/binaryen/package.json`, 'utf8'));
  const step = () => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    run('wasm-bindgen', ['--target', 'web', '--experimental-reset-state-function', '--omit-default-module-path', '--out-dir', folder, '--out-name', 'wdelta', module]);
    const { wasm: leaner, locations } = withoutLocations(readFileSync(wasm));
    if (locations === 0) throw new BuildError('no location of a panic was found in the wasm module; see pkg-scripts/lib/locations.mjs.');
    writeFileSync(wasm, leaner);
    run(process.execPath, [`${scripts}/node_modules/binaryen/${binaryen.bin['wasm-opt']}`, ...WASM_OPT, wasm, '-o', wasm]);
    lighten(core);
    run(process.execPath, [`${scripts}/node_modules/terser/bin/terser`, glue, ...TERSER, '-o', glue]);
  };
  const settings = [version, binaryen.version, String(lighten), ...WASM_OPT, ...TERSER];
  once(name, digest([module, `${scripts}/lib/locations.mjs`], ...settings), step, [wasm, glue]);
}

/**
 * Type-checks a project of ours.
 *
 * @param {string} name of the tsconfig
 * @param {string[]} inputs files that the result depends on
 * @param {string} [output] folder of declarations, emptied first
 */
function check(name, inputs, output) {
  const config = `${scripts}/tsconfig.${name}.json`;
  const step = () => {
    if (output) rmSync(output, { recursive: true, force: true });
    run(process.execPath, [`${scripts}/node_modules/typescript/bin/tsc`, '-p', config]);
  };
  const settings = [config, `${scripts}/tsconfig.base.json`, `${scripts}/package-lock.json`];
  once(`check-${name}`, digest([...settings, ...inputs]), step, output ? [output] : []);
}

/** The package's sources: modules and hand-written declarations. */
function sources() {
  return list(`${root}/src/js`).filter((path) => /\.(js|d\.ts)$/.test(path));
}

function manifest() {
  const cargo = readFileSync(`${root}/Cargo.toml`, 'utf8');
  const field = (/** @type {string} */ name) => {
    const value = new RegExp(`^${name} = "(.*)"$`, 'm').exec(cargo)?.[1];
    if (!value) throw new BuildError(`Cargo.toml has no ${name}.`);
    return value;
  };
  const template = JSON.parse(readFileSync(`${scripts}/package.template.json`, 'utf8'));
  return { ...template, version: field('version'), description: field('description') };
}

/** The package's content by path. */
function assemble() {
  /** @type {Map<string, Buffer | string>} */
  const files = new Map();
  for (const path of sources()) files.set(path, readFileSync(`${root}/src/js/${path}`));
  for (const path of list(types)) files.set(path, readFileSync(`${types}/${path}`));
  for (const { name, wasm } of [whole, reading]) files.set(name, readFileSync(wasm));
  files.set('wdelta.js', readFileSync(whole.glue));
  files.set('wdelta.d.ts', readFileSync(whole.types));
  for (const path of ['README.md', 'LICENSE', 'CHANGELOG.md']) files.set(path, readFileSync(`${root}/${path}`));
  files.set('package.json', `${JSON.stringify(manifest(), null, 2)}\n`);
  return files;
}

async function build() {
  const { values } = parseArgs({ options: { site: { type: 'string' } } });
  [whole, reading].forEach(bind);
  if (!readFileSync(whole.glue).equals(readFileSync(reading.glue))) throw new BuildError(`the glue of ${whole.name} is not that of ${reading.name}.`);
  check('package', [...sources().map((path) => `${root}/src/js/${path}`), whole.types], types);

  const files = assemble();
  sync(pkg, files);
  if (existsSync(`${pkg}/cli.js`)) chmodSync(`${pkg}/cli.js`, 0o755);

  const page = list(`${root}/www`)
    .filter((path) => path.endsWith('.js'))
    .map((path) => `${root}/www/${path}`);
  if (page.length > 0)
    check('page', [
      ...page,
      ...list(pkg)
        .filter((path) => path.endsWith('.d.ts'))
        .map((path) => `${pkg}/${path}`),
    ]);

  const { checkBudgets } = await import('./lib/budget.mjs');
  const { checkSite, siteFiles, writeSite } = await import('./lib/site.mjs');
  checkBudgets(files);
  const site = await siteFiles(files);
  checkSite(site);
  if (values.site) {
    const folder = resolve(values.site);
    writeSite(folder, site);
    console.log(`site: ${folder} (${site.size} files)`);
  }
  console.log(`package: ${pkg}, version ${manifest().version}`);
}

if (process.env.WDELTA_SETUP) {
  await script(build);
} else {
  // Started by hand: install what is missing first, then run again with the environment that setup.sh gives.
  const self = fileURLToPath(import.meta.url);
  const { status } = spawnSync('bash', ['-c', '. "$0" build && exec node "$@"', `${scripts}/setup.sh`, self, ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
}
