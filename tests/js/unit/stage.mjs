// Puts the package together with the fake core, as pkg-scripts/build.mjs does with the compiled one.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** A folder for one test file; it goes when the process ends. */
export function folder() {
  const path = mkdtempSync(join(tmpdir(), 'wdelta-test-'));
  process.on('exit', () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** The package with the fake core. @returns its folder, with a function that imports one of its files */
export function stage() {
  const path = folder();
  cpSync(join(here, '../../../src/js'), path, { recursive: true });
  cpSync(join(here, 'fake-core.mjs'), join(path, 'wdelta.js'));
  writeFileSync(join(path, 'wdelta_bg.wasm'), Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  writeFileSync(join(path, 'package.json'), '{"type":"module"}');
  return { path, load: (file) => import(pathToFileURL(join(path, file)).href) };
}

/** Bytes that differ from place to place. */
export function noise(length, seed = 1) {
  const bytes = new Uint8Array(length);
  for (let i = 0, x = seed; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    bytes[i] = x >>> 16;
  }
  return bytes;
}
