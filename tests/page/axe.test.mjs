// axe-core over every view, light and dark: empty, with the sample, with a result and with an error.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import axe from '../../pkg-scripts/node_modules/axe-core/axe.js';
import { start } from './browser.mjs';

const VIEWS = ['Inspect', 'Compare', 'Lineage', 'Rebuild', 'Make'];
const BASE = new URL('../../www/sample/base.safetensors', import.meta.url).pathname;

let site;
before(async () => (site = await start()));
after(() => site?.stop());

/** Violations as lines of rule, element and reason. */
async function violations(page) {
  const results = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const line = (id, { html, failureSummary }) => `${id}: ${html.slice(0, 160)}: ${failureSummary}`;
  return results.violations.flatMap(({ id, nodes }) => nodes.map((node) => line(id, node)));
}

for (const theme of ['light', 'dark']) {
  test(`no violations, ${theme}`, async () => {
    const driven = await site.open({ theme, script: axe.source });
    const { page } = driven;
    const found = {};
    const look = async (name) => {
      const lines = await violations(page);
      if (lines.length) found[name] = lines;
    };
    for (const view of VIEWS) {
      await driven.view(view);
      await look(`empty ${view}`);
    }
    await driven.view('Inspect');
    await page.getByRole('button', { name: 'Try the sample' }).click();
    await page.locator('.summary').getByText('lossless · v2').waitFor();
    await look('sample');
    await page.locator('table[aria-rowcount] tbody tr').nth(1).click();
    await page.locator('aside.details svg').first().waitFor();
    await look('tensor');
    await driven.give(BASE, { name: 'note.zip', mimeType: 'application/zip', buffer: Buffer.from('PK\x03\x04') });
    await driven.problem('NOT_WDELTA');
    for (const view of VIEWS.slice(1)) {
      await driven.view(view);
      await page.locator('main h1').first().waitFor();
      await look(`sample, ${view}`);
    }
    await driven.view('Rebuild');
    await page.getByRole('button', { name: 'Rebuild model' }).click();
    await page.locator('[data-result]').waitFor();
    await look('result');
    await page.getByRole('button', { name: 'Help' }).click();
    await look('help');
    assert.deepEqual(found, {});
    await driven.close();
  });
}
