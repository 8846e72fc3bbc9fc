// What a version 1 tensor holds, as its chart says it: int4 by levels and outliers, sparse by what is kept, quantized by scales.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { encode, inspect, stats } from '../../pkg/node.js';
import { bytes, number, percent } from '../../www/js/format.js';
import { start } from './browser.mjs';
import { DATA } from './data.mjs';
import { hollowDelta } from './models.mjs';

const TENSOR = 'model.layers.1.mlp.up_proj.weight';

let site;
/** @type {Record<string, Buffer>} */
const deltas = {};

before(async () => {
  const [base, finetuned] = await Promise.all(['base', 'ft-sft'].map((name) => readFile(new URL(`${name}.safetensors`, DATA))));
  for (const strategy of ['int4', 'sparse', 'quantized']) deltas[strategy] = Buffer.from((await encode({ base, finetuned, strategy })).data);
  site = await start();
});
after(() => site?.stop());

/** The page with a delta, and one of its tensors chosen. */
async function chosen(buffer, name = TENSOR) {
  const driven = await site.open();
  await driven.give({ name: 'some.wdelta', mimeType: '', buffer });
  await driven.page.locator(`[data-key="row ${name}"]`).click();
  return driven;
}

/** Title, summary and rows of a chart's table. */
async function read(page, title) {
  const figure = page.locator('aside.details figure').filter({ hasText: title });
  await figure.getByRole('button', { name: 'Table' }).click();
  const rows = await figure.locator('tbody tr').evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
  return { summary: await figure.locator('output').innerText(), rows, ticks: await figure.locator('.tick').count(), cuts: await figure.locator('.cut').count() };
}

const value = (text) => Number(text.replaceAll(',', '').replace('−', '-').replace('e−', 'e-'));
/** The tensor in the header, and what Node says of its values. */
async function told(strategy) {
  const tensor = (await inspect(deltas[strategy])).tensors.find(({ name }) => name === TENSOR);
  for await (const each of stats({ deltas: deltas[strategy], names: [TENSOR], bins: 4096 })) return { tensor, each };
}

test('int4: sixteen levels with their counts, outliers as ticks', async () => {
  const driven = await chosen(deltas.int4);
  const { summary, rows, ticks } = await read(driven.page, 'Levels and outliers');
  const { tensor, each } = await told('int4');
  assert.match(summary, /^16 levels .* apart; ticks are outliers$/);
  assert.equal(rows.length, 16);
  assert.equal(rows.reduce((sum, [, count]) => sum + value(count), 0), tensor.elements - each.outliers.count);
  assert.equal(ticks, each.outliers.count);
  const { scale, zeroPoint } = each.levels;
  rows.forEach(([level], q) => assert.equal(level, number(zeroPoint + q * scale)));
  // As many values as Node counts where a level lies; a level next to an outlier may share its bin.
  const { lo, hi, counts } = each.histogram;
  for (const [q, [, count]] of rows.entries()) {
    const bin = Math.floor(((zeroPoint + q * scale - lo) / (hi - lo)) * counts.length);
    const near = counts.slice(bin - 1, bin + 2).reduce((sum, n) => sum + n, 0);
    assert.ok(near >= value(count) && near <= value(count) + each.outliers.count, `level ${q}: ${count}, Node counts ${near}`);
  }
  await driven.close();
});

test('sparse: the values that are kept, and where they are cut off', async () => {
  const driven = await chosen(deltas.sparse);
  const { summary, rows, cuts } = await read(driven.page, 'Kept values');
  const { tensor } = await told('sparse');
  const kept = tensor.records.find(({ field }) => field === 'values');
  const found = new Float32Array(deltas.sparse.buffer.slice(deltas.sparse.byteOffset + kept.offset, deltas.sparse.byteOffset + kept.offset + kept.length));
  const least = found.reduce((low, each) => Math.min(low, Math.abs(each)), Infinity);
  assert.equal(summary.replaceAll('\u00a0', ' '), `${kept.elements.toLocaleString('en')} values of ${tensor.elements.toLocaleString('en')}, cut off at ±${number(least)}`);
  assert.equal(rows.reduce((sum, [, count]) => sum + value(count), 0), kept.elements);
  assert.equal(cuts, 2);
  await driven.close();
});

test('quantized: the scale of each row', async () => {
  const driven = await chosen(deltas.quantized);
  const { rows } = await read(driven.page, 'Scale by row');
  const { tensor, each } = await told('quantized');
  assert.equal(rows.length, tensor.shape[0]);
  rows.forEach(([, scale], row) => assert.equal(scale, number(each.rows.rms[row])));
  // Its values are the scales: a second chart would say the same.
  assert.equal(await driven.page.locator('aside.details figure').count(), 1);
  await driven.close();
});

test('of a large tensor a sample is read at once, and the chart says so', async () => {
  const large = hollowDelta([['model.layers.0.mlp.up_proj.weight', [8192, 4096]]]);
  const driven = await chosen(large, 'model.layers.0.mlp.up_proj.weight');
  await driven.page.locator('aside.details output').filter({ hasText: /sample of 25\.\d\s%/ }).waitFor();
  await driven.page.getByText(/Measure, reads/).waitFor();
  const { rows } = await read(driven.page, 'Levels and outliers');
  assert.equal(value(rows[0][1]), 2 * (1 << 22));
  await driven.close();
});

test('digits of a column stand below each other, zero is zero', () => {
  assert.deepEqual([number(4), number(3.456), number(0.0013), number(0), number(1234567)], ['4.00', '3.46', '0.00130', '0', '1.23e6']);
  assert.deepEqual([bytes(5000), bytes(999), bytes(0)], ['5.00\u00a0kB', '999\u00a0B', '0\u00a0B']);
  assert.deepEqual([percent(0.1), percent(0), percent(1)], ['10.0\u00a0%', '0\u00a0%', '100\u00a0%']);
});

test('over depth a role of one layer is drawn as well', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give({ name: 'some.wdelta', mimeType: '', buffer: hollowDelta([['layers.0.both', [8, 8]], ['layers.1.both', [8, 8]], ['layers.1.only', [8, 8]]]) });
  await page.locator('[data-key="Picture depth"]').click();
  // Drawn in the frame after the click.
  await page.locator('.depth-line').first().waitFor({ state: 'attached' });
  const heights = await page.locator('.depth-line').evaluateAll((lines) => lines.map((line) => line.getBBox().height));
  assert.equal(heights.length, 2);
  assert.ok(heights[1] > 10, `${heights}`);
  await driven.close();
});
