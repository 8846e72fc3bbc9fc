// The journeys by keyboard alone.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { start } from './browser.mjs';
import { DATA } from './data.mjs';

const model = (name) => fileURLToPath(new URL(`${name}.safetensors`, DATA));
const sample = (name) => fileURLToPath(new URL(`../../www/sample/${name}.wdelta`, import.meta.url));

let site;

before(async () => {
  site = await start();
});
after(() => site?.stop());

/** Opens files with the key for it. */
async function open(page, ...paths) {
  const chooser = page.waitForEvent('filechooser');
  // The browser learns of the waiting before the key comes.
  await page.evaluate(() => document.body.tabIndex);
  await page.keyboard.press('o');
  await (await chooser).setFiles(paths);
  await page.waitForFunction((n) => document.querySelectorAll('.chip').length === n && !document.querySelector('.chip[aria-busy=true]'), paths.length);
}

/** Presses Tab until the focus is on what is wanted. */
async function tabTo(page, selector) {
  for (let i = 0; i < 150; i++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return;
  }
  assert.fail(`Tab does not lead to ${selector}`);
}

const focused = (page, attribute) => page.evaluate((name) => document.activeElement?.getAttribute(name), attribute);

test('inspect: open, filter, walk, choose, close, help, map', async () => {
  const driven = await site.open();
  const { page } = driven;
  await open(page, sample('docs'));
  await page.locator('.tensors tbody tr').first().waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('layers.3');
  assert.ok((await page.locator('.tensors tbody tr').count()) < 47);
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('#filter').inputValue(), '');
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  await page.keyboard.press('ArrowDown');
  assert.match(await focused(page, 'data-key'), /^row /);
  await page.keyboard.press('Enter');
  await page.locator('.details h2').waitFor();
  await page.waitForFunction(() => location.hash.startsWith('#inspect&t='));
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => location.hash === '#inspect');
  await page.keyboard.press('?');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'hidden' });
  // The map is one stop; arrows go through its cells.
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).blur());
  await tabTo(page, '.map .cell');
  const first = await focused(page, 'aria-label');
  await page.keyboard.press('ArrowDown');
  assert.notEqual(await focused(page, 'aria-label'), first);
  await driven.close();
});

test('compare, lineage, rebuild, make', async () => {
  const driven = await site.open();
  const { page } = driven;
  await open(page, sample('docs'), sample('step-1'), model('base'), model('ft-sft'));
  await page.keyboard.press('2');
  await tabTo(page, '[data-key=diff]');
  await page.keyboard.press('Enter');
  await page.getByText('Furthest apart').waitFor();
  await page.keyboard.press('3');
  await page.locator('html[data-view=lineage] h1').first().waitFor();
  for (const [key, title] of [
    ['4', 'Model rebuilt and checked'],
    ['5', 'Delta made'],
  ]) {
    await page.keyboard.press(key);
    await page.locator('[data-key=start]:enabled').waitFor();
    await tabTo(page, '[data-key=start]');
    await page.keyboard.press('Enter');
    await page.getByText(title).waitFor();
    await page.waitForFunction(() => document.activeElement?.matches('[data-result]'));
  }
  await driven.close();
});

test('the focus stays near what it was on when that is gone', async () => {
  const driven = await site.open();
  const { page } = driven;
  const on = (selector) => page.waitForFunction((wanted) => document.activeElement?.matches(wanted), selector);
  const press = async (selector) => {
    await page.locator(selector).first().focus();
    await page.keyboard.press('Enter');
  };
  await page.getByRole('button', { name: 'Try the sample' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('.tensors tbody tr').nth(4).waitFor();
  await on('main');
  await page.locator('[data-row="2"]').focus();
  await page.keyboard.press('Enter');
  await press('[data-key="close details"]');
  await on('[data-row="2"]');
  // Disabled while it runs, and then not needed any more.
  await press('[data-key="verify file"]:enabled');
  await page.getByText('Checksum and records are good.').waitFor();
  await on('[data-key="verify base"]');
  await page.locator('[data-row="2"]').focus();
  await page.keyboard.press('4');
  await on('main');
  await press('[data-key^="out "]');
  await on('[data-key=add]');
  await press('[data-key^="remove "]');
  await on('[data-key^="remove "]');
  await driven.close();
});

test('C copies the name of the tensor and says so', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await open(page, sample('docs'), sample('step-1'));
  for (const view of ['1', '2']) {
    await page.keyboard.press(view);
    await page.locator('[data-row="1"]').focus();
    await page.keyboard.press('Enter');
    // The file's own details have a name too, and none to copy.
    await page.locator('.details [aria-keyshortcuts=C]').waitFor();
    await page.keyboard.press('c');
    await page.locator('.details').getByText('Copied').waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await page.locator('.details h2').innerText());
  }
  await driven.close();
});

test('T shows charts as tables from wherever the focus is; tabs keep the tensor, as keys do', async () => {
  const driven = await site.open();
  const { page } = driven;
  await open(page, sample('docs-int4'));
  const row = page.locator('[data-row="1"]');
  await row.click();
  const table = page.locator('.chart .plain').first();
  await table.waitFor({ state: 'attached' });
  await row.focus();
  await page.keyboard.press('t');
  await table.waitFor();
  await page.keyboard.press('t');
  await table.waitFor({ state: 'hidden' });
  await page.locator('.plot').first().focus();
  await page.keyboard.press('t');
  await table.waitFor();

  const { hash } = new URL(page.url());
  assert.match(hash, /^#inspect&t=./);
  await driven.view('Rebuild');
  assert.equal(new URL(page.url()).hash, hash.replace('inspect', 'rebuild'));
  await page.keyboard.press('1');
  await page.locator('html[data-view=inspect]').waitFor();
  assert.equal(new URL(page.url()).hash, hash);
  await driven.close();
});

test('work that fails takes the focus to what is said of it, in sight', async () => {
  const driven = await site.open({ path: '#rebuild', size: { width: 360, height: 560 } });
  const { page } = driven;
  await driven.give(sample('docs'), model('ft-sft'));
  await page.locator('[data-key=start]:enabled').focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement?.matches('.outcome'));
  const { top, bottom } = await page.locator('.outcome').evaluate((outcome) => outcome.getBoundingClientRect().toJSON());
  assert.ok(top < 560 && bottom > 0 && (top >= 0 || bottom <= 560), `from ${top} to ${bottom}`);
  await driven.close();
});

test('names are read as one word, however they are cut', async () => {
  const driven = await site.open();
  const { page } = driven;
  await open(page, sample('docs-int4'));
  await page.getByRole('button', { name: 'docs-int4.wdelta', exact: true }).waitFor();
  await page.getByRole('rowheader', { name: 'model.layers.0.mlp.up_proj.weight', exact: true }).waitFor();
  await driven.close();
});
