// What a browser has to load, against the bounds that the project has set itself.
import { brotliCompressSync, constants } from 'node:zlib';
import ts from 'typescript';
import { BuildError } from './run.mjs';

/** Largest wasm module, in bytes after brotli 11. The aim for both versions is 200,000; see benches/HISTORY.md for what was tried. */
const WASM_BYTES = 298_300;
/** Largest one that only reads. */
const READING_BYTES = 197_000;
/** Largest size of the library's modules, in bytes, without comments, together after brotli 11. The aim is 20,000. */
const SCRIPT_BYTES = 21_600;
/** The same of those that a browser loads. */
const BROWSER_BYTES = 18_600;

/** Modules that only the command line loads; they are no part of the library. */
export const COMMAND_LINE = /^cli(\.js$|\/)/;

/** Modules that only Node loads. */
const NODE = /(^|-)node\.js$/;

/**
 * Length after brotli 11.
 *
 * @param {Buffer} bytes
 */
export function brotli(bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return brotliCompressSync(bytes, { params }).length;
}

/** @param {string} text */
function withoutComments(text) {
  const compilerOptions = { removeComments: true, target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext };
  return ts.transpileModule(text, { compilerOptions }).outputText;
}

/**
 * Prints the package's sizes; throws if one is over its bound.
 *
 * @param {Map<string, Buffer | string>} files the package's content by relative path
 */
export function checkBudgets(files) {
  const modules = [...files.keys()].filter((path) => path.endsWith('.js') && !COMMAND_LINE.test(path));
  const borrower = modules.find((path) => /["']\.\/cli[./]/.test(String(files.get(path))));
  if (borrower) throw new BuildError(`${borrower} imports a module of the command line, which the budget does not count.`);
  const scripts = modules.map((path) => ({ path, text: Buffer.from(withoutComments(String(files.get(path)))) }));
  const sizes = scripts.map(({ path, text }) => ({ path, plain: text.length, packed: brotli(text) }));
  const together = (/** @type {string} */ what, /** @type {typeof scripts} */ some, /** @type {number} */ bound) => {
    const all = Buffer.concat(some.map(({ text }) => text));
    return { what, plain: all.length, packed: brotli(all), bound, note: ` (${some.length} modules)` };
  };
  const module = (/** @type {string} */ path, /** @type {number} */ bound) => {
    const bytes = Buffer.from(files.get(path) ?? '');
    return { what: path, plain: bytes.length, packed: brotli(bytes), bound, note: '' };
  };
  const n = (/** @type {number} */ value) => value.toLocaleString('en-US');
  const rows = [
    module('wdelta_bg.wasm', WASM_BYTES),
    module('wdelta_read.wasm', READING_BYTES),
    together('JavaScript', scripts, SCRIPT_BYTES),
    together('JavaScript for browsers', scripts.filter(({ path }) => !NODE.test(path)), BROWSER_BYTES),
  ];
  for (const { what, plain, packed, bound, note } of rows)
    console.log(`${what}: ${n(plain)} bytes, brotli ${n(packed)} of ${n(bound)}${note}`);

  const over = rows.filter((row) => row.packed > row.bound);
  if (over.length === 0) return;
  for (const { path, plain, packed } of sizes.sort((a, b) => b.packed - a.packed))
    console.log(`  ${path}: ${n(plain)}, brotli ${n(packed)}`);
  throw new BuildError(`over budget: ${over.map((row) => row.what).join(', ')}.`);
}
