import assert from 'node:assert/strict';
import test from 'node:test';
import { encodeLines, verifyLines } from '../../../src/js/cli/reports.js';
import { suggest } from '../../../src/js/checks.js';
import { columns, formatBytes, formatCount, formatDuration, printable, shorten } from '../../../src/js/cli/units.js';

test('numbers have three digits and a unit', () => {
  assert.deepEqual([0, 999, 1000, 12_345, 999_499, 999_500, 988_097_824].map(formatBytes), ['0 B', '999 B', '1.00 kB', '12.3 kB', '999 kB', '1.00 MB', '988 MB']);
  assert.deepEqual([64, 32_768, 494_032_768, 7e9].map(formatCount), ['64', '32.8 k', '494 M', '7.00 B']);
  assert.deepEqual([0.2, 59, 100, 3599, 7500].map(formatDuration), ['1 s', '59 s', '2 min', '1 h 0 min', '2 h 5 min']);
});

test('names are cut in the middle, by columns', () => {
  assert.equal(shorten('model.layers.10.weight', 11), 'model…eight');
  assert.equal(shorten('model', 5), 'model');
  for (const text of ['model.layers.10.self_attn', '模型.層.十.重み.終', '👩‍🚀'.repeat(9)]) {
    for (let width = 0; width < 30; width++) assert.ok(columns(shorten(text, width)) <= width, `${text} at ${width}`);
  }
});

test('control and direction characters are shown, not obeyed', () => {
  assert.equal(printable('a\x1b[31m\u202eb\n\u2028é'), 'a\\u{1b}[31m\\u{202e}b\\u{a}\\u{2028}é');
});

test('a delta is called exact only where its error is known to be none', () => {
  const report = { job: 'encode', version: 1, strategy: 'quantized', bytes: 10, finetunedBytes: 100, elements: 50, baseHash: '', tensors: [], findings: [] };
  const told = (/** @type {number | null} */ relativeError) => encodeLines(/** @type {any} */ ({ ...report, relativeError }))[1].split(', ').slice(4).join(', ');
  assert.equal(told(0), 'exact');
  assert.equal(told(0.5), 'relative error of the delta 0.5');
  assert.equal(told(null), 'relative error of the delta unknown, as NaN or infinity spread');
});

test('what is found in many tensors takes one line', () => {
  const found = (/** @type {string} */ code, /** @type {string | undefined} */ tensor) => ({ severity: 'note', code, message: `about ${code}`, tensor });
  const report = { ok: true, version: 1, deltas: [], findings: [found('a', 'one'), found('b', 'one'), found('a', 'two'), found('a', 'three'), found('c', undefined)] };
  assert.deepEqual(verifyLines(/** @type {any} */ (report), []), ['note: a: about a (tensor one and 2 more)', 'note: b: about b (tensor one)', 'note: c: about c']);
});

test('the nearest word is suggested, a far one is not', () => {
  assert.equal(suggest('outlierFractoin', ['sparsity', 'outlierFraction']), 'did you mean outlierFraction?');
  assert.equal(suggest('x', ['sparsity', 'outlierFraction']), undefined);
});
