// Modules that the site leaves out are left out, or the build says that it could not.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { STAND_INS, bundle } from '../../../pkg-scripts/lib/bundle.mjs';
import { BuildError } from '../../../pkg-scripts/lib/run.mjs';

const MODULES = {
  'js/main.js': "import { check } from '../pkg/checks.js'; check('page')",
  'pkg/worker.js': "postMessage('ready')",
  'pkg/checks.js': "export const check = (what) => console.log('large check', what)",
};
const standIns = new Map([['pkg/checks.js', "export const check = (what) => console.log('stand-in', what)"]]);
const link = (/** @type {Record<string, string>} */ modules) => bundle(new Map(Object.entries(modules)), standIns);

test('a stand-in takes the place of its module', async () => {
  const script = (await link(MODULES)).get('js/main.js');
  assert.match(script, /stand-in/);
  assert.doesNotMatch(script, /large check/);
});

test('a stand-in whose module is renamed is a build error that names it', async () => {
  const { 'pkg/checks.js': module, ...others } = MODULES;
  const renamed = { ...others, 'js/main.js': MODULES['js/main.js'].replace('checks.js', 'tests.js'), 'pkg/tests.js': module };
  await assert.rejects(link(renamed), (error) => error instanceof BuildError && /^pkg\/checks\.js has a stand-in, but/.test(error.message));
});

test('a stand-in whose module nobody imports any more is a build error', async () => {
  await assert.rejects(link({ ...MODULES, 'js/main.js': "postMessage('alone')" }), { message: /^pkg\/checks\.js has a stand-in, but/ });
});

test('a stand-in that lacks what is imported of its module is a build error', async () => {
  await assert.rejects(link({ ...MODULES, 'js/main.js': "import { other } from '../pkg/checks.js'; other()" }), /other/);
});

test('every module with a stand-in is a file of the package', () => {
  for (const path of STAND_INS.keys()) assert.ok(existsSync(new URL(`../../../src/js/${path.slice('pkg/'.length)}`, import.meta.url)), path);
});
