// Very many tensors, and words for every error.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { errorCodes } from '../../pkg/node.js';
import { MEANINGS, problemOf } from '../../www/js/errors.js';
import { start } from './browser.mjs';
import { hollowDelta } from './models.mjs';

let site;

before(async () => {
  site = await start();
});
after(() => site?.stop());

test('every code of the package has a title and says what to do', async () => {
  const codes = (await errorCodes()).map(({ code }) => code);
  assert.deepEqual([...MEANINGS.keys()].sort(), codes.sort());
  for (const [code, { title, advice }] of MEANINGS) {
    assert.ok(title && advice, code);
    assert.deepEqual(problemOf({ code, message: 'm', tensor: 't' }).code, code);
  }
  assert.equal(problemOf({ name: 'QuotaExceededError', message: 'full' }).code, 'IO');
  assert.equal(problemOf({ name: 'NotReadableError', message: 'gone' }).code, 'SOURCE_CHANGED');
  assert.equal(problemOf(new RangeError('odd')).code, 'INTERNAL');
});

for (const tensors of [5000, 20_000]) {
  test(`${tensors} tensors are shown, filtered and walked`, async () => {
    const driven = await site.open();
    const { page } = driven;
    const names = Array.from({ length: tensors }, (_, i) => [`odd_${i}_name_${(i * 7919) % 100_003}`, [4, 4]]);
    await driven.give({ name: 'many.wdelta', mimeType: '', buffer: hollowDelta(names) });
    const table = page.locator('.tensors');
    await table.locator('tbody tr').first().waitFor();
    assert.equal(await table.getAttribute('aria-rowcount'), String(tensors + 1));
    assert.ok((await table.locator('tbody tr').count()) < 100, 'only the rows in sight are built');
    await page.locator('#filter').fill('odd_777');
    await page.waitForFunction((n) => Number(document.querySelector('.tensors')?.getAttribute('aria-rowcount')) < n, 1200);
    await page.locator('#filter').fill('');
    await page.waitForFunction((n) => Number(document.querySelector('.tensors')?.getAttribute('aria-rowcount')) > n, 1200);
    await table.locator('tbody tr:not(.spacer)').first().click();
    await page.keyboard.press('End');
    // The row that was clicked is measured, after which the table is drawn again.
    await page.locator('.details', { hasText: 'Not measured.' }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-rowindex')), String(tensors + 1));
    await driven.close();
  });
}
