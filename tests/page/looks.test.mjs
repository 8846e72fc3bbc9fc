// Every view and state under every look: light and dark, wide, at 200 % zoom and 320 px wide, forced colours, reduced motion.
// Nothing may stick out to the side; what it looks like is written to tests/page/screenshots/ for people to see.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { encode } from '../../pkg/node.js';
import { writeModel } from '../../pkg-scripts/lib/safetensors.mjs';
import { start } from './browser.mjs';
import { sparseModel } from './models.mjs';

const PICTURES = fileURLToPath(new URL('screenshots/', import.meta.url));
const SAMPLE = fileURLToPath(new URL('../../www/sample/', import.meta.url));

/** @type {Record<string, { size: { width: number, height: number }, theme?: 'light' | 'dark', media?: object, scale?: number }>} */
const LOOKS = {
  light: { size: { width: 1280, height: 860 } },
  dark: { size: { width: 1280, height: 860 }, theme: 'dark' },
  narrow: { size: { width: 320, height: 640 } },
  'narrow-dark': { size: { width: 320, height: 640 }, theme: 'dark' },
  // What 200 % leaves of a screen of 1280 × 860.
  zoom: { size: { width: 640, height: 430 } },
  forced: { size: { width: 1280, height: 860 }, media: { forcedColors: 'active', colorScheme: 'dark' } },
  still: { size: { width: 1280, height: 860 }, media: { reducedMotion: 'reduce' } },
};

let folder, site;
const at = (name) => join(folder, name);
const tuned = (name) => fileURLToPath(new URL(`../data/stories260k-full/${name}.safetensors`, import.meta.url));

/** A delta with something to notice: strange names, and a tensor that changed hardly at all. */
async function oddDelta() {
  const names = ['<b>markup</b>.weight', '__proto__', 'turned\u202Egnp.weight', `model.layers.0.${'very_'.repeat(40)}long.weight`, 'שלום.עולם.weight'];
  const model = (add) => {
    const values = Float32Array.from({ length: 512 }, (_, i) => Math.sin(i) + add * Math.cos(3 * i));
    return writeModel(new Map(names.map((name, i) => [name, { dtype: 'F32', shape: [16, 32], bytes: Buffer.from((i === 1 ? values.map((v) => v + add * 1e-9) : values).buffer) }])));
  };
  return Buffer.from((await encode({ base: model(0), finetuned: model(0.01), strategy: 'int4' })).data);
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-looks-'));
  await mkdir(PICTURES, { recursive: true });
  await sparseModel(at('base.safetensors'), { layers: 12, side: 4096, seed: 1 });
  await sparseModel(at('tuned.safetensors'), { layers: 12, side: 4096, seed: 2 });
  await encode({ base: at('base.safetensors'), finetuned: at('tuned.safetensors'), output: at('large.wdelta'), strategy: 'quantized' });
  const base = `${SAMPLE}base.safetensors`;
  for (const strategy of ['sparse', 'quantized', 'lossy'])
    await encode({ base, finetuned: tuned('ft-sft'), output: at(`${strategy}.wdelta`), strategy });
  site = await start();
});

after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

/** Elements that stick out to the side, but for those in a region that scrolls. */
function outside() {
  const wide = document.documentElement.clientWidth;
  const scrolls = (element) => {
    for (let up = element; up && up !== document.body; up = up.parentElement) {
      const { overflowX, position } = getComputedStyle(up);
      if (/auto|scroll|hidden|clip/.test(overflowX) || position === 'fixed') return true;
    }
    return false;
  };
  const all = [...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > wide + 1 && !scrolls(element));
  return { page: document.documentElement.scrollWidth - wide, elements: all.slice(0, 5).map((element) => element.outerHTML.slice(0, 120)) };
}

for (const [look, { size, theme, media }] of Object.entries(LOOKS)) {
  test(`nothing sticks out: ${look}`, async () => {
    const found = {};
    let driven, page;
    let count = 0;
    const open = async (path) => {
      await driven?.close();
      driven = await site.open({ path, theme, size });
      ({ page } = driven);
      if (media) await page.emulateMedia(media);
    };
    const shot = async (name, whole = true) => {
      const { page: over, elements } = await page.evaluate(outside);
      if (over > 0 || elements.length) found[name] = { over, elements };
      await page.screenshot({ path: join(PICTURES, `${look}-${String(++count).padStart(2, '0')}-${name}.png`), fullPage: whole });
    };
    const sample = async () => {
      await page.getByRole('button', { name: 'Try the sample' }).click();
      await page.locator('.chip').nth(4).waitFor();
      await page.locator('.summary').getByText('lossless · v2').waitFor();
    };
    const key = (name) => page.locator(`[data-key="${name}"]`).first();

    await open('');
    await shot('empty');
    for (const view of ['Compare', 'Lineage', 'Rebuild', 'Make']) {
      await driven.view(view);
      await shot(`empty-${view.toLowerCase()}`);
    }
    await driven.view('Inspect');
    await sample();
    await page.locator('.tensors tbody tr').nth(5).waitFor();
    // Names are told apart by their ends.
    const cut = await page.locator('.chip.delta .name span:last-child').evaluateAll((tails) => tails.filter((tail) => tail.scrollWidth > tail.clientWidth).map((tail) => tail.textContent));
    assert.deepEqual(cut, []);
    await shot('inspect');
    await page.locator('.tensors tbody tr').nth(2).click();
    await page.locator('aside.details svg').first().waitFor();
    await shot('tensor');
    await page.locator('select[aria-label=Measure]').selectOption('rms');
    await shot('unmeasured');
    await key('measure').click();
    await page.getByText('measured', { exact: true }).waitFor();
    await shot('measured');
    // A map without colours would say nothing.
    const colours = await page.locator('.map .cell').evaluateAll((cells) => new Set(cells.map((cell) => getComputedStyle(cell).backgroundColor)).size);
    assert.ok(colours > 5, `${colours} colours`);
    await key('Picture area').click();
    await shot('area');
    await key('Picture depth').click();
    await shot('depth');
    await page.getByRole('button', { name: 'Columns' }).click();
    const menu = await page.locator('#columns').boundingBox();
    assert.ok(menu.x >= 0 && menu.y >= 0 && menu.x + menu.width <= size.width && menu.y + menu.height <= size.height, `the menu is cut off: ${JSON.stringify(menu)}`);
    await shot('columns', false);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'More ways to open' }).click();
    await shot('open-menu', false);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Help' }).click();
    await shot('help', false);
    await page.keyboard.press('Escape');
    for (const kind of ['int4', 'sparse', 'quantized', 'lossy']) {
      if (kind !== 'int4') await driven.give(at(`${kind}.wdelta`));
      await page.locator('.chip button.link').filter({ hasText: kind }).click();
      await page.locator('.summary').getByText(`${kind} · v`).waitFor();
      await page.locator('[data-key="row model.layers.0.mlp.up_proj.weight"]').click();
      await page.locator('aside.details figure').nth(kind === 'quantized' ? 0 : 1).waitFor();
      await shot(`tensor-${kind}`);
      if (kind === 'int4') continue;
      const chip = page.locator('.chip').filter({ hasText: kind });
      await chip.getByRole('button', { name: /^Remove/ }).click();
      await chip.waitFor({ state: 'detached' });
    }
    await page.locator('.chip button.link').first().click();

    await driven.view('Compare');
    await shot('compare');
    await key('diff').click();
    await page.getByText('Furthest apart').waitFor();
    await shot('compared');
    await driven.view('Lineage');
    await shot('lineage');
    await page.getByRole('button', { name: /^Check the links/ }).click();
    await page.getByText(/links: 4 verified/).waitFor();
    await shot('lineage-checked');
    await driven.view('Rebuild');
    await key('start').waitFor();
    await page.locator('[data-key=start]:enabled').waitFor();
    await shot('rebuild');
    await key('start').click();
    await page.locator('[data-result]').waitFor();
    await shot('rebuilt');
    await page.getByRole('button', { name: 'Generate' }).click();
    await page.getByText(/The same for|Both wrote the same/).waitFor();
    await shot('written');

    await open('#make');
    await driven.give(`${SAMPLE}base.safetensors`, tuned('ft-step2'), `${SAMPLE}step-1.wdelta`);
    await page.getByRole('radio', { name: /^The base with 1 delta/ }).check();
    await page.locator('[data-key=start]:enabled').waitFor();
    await page.locator('.preflight').getByText(/estimated from all tensors/).waitFor();
    await shot('make');
    await key('start').click();
    await page.locator('[data-result]').waitFor();
    await shot('made');

    await open('');
    await driven.give(
      { name: 'odd.wdelta', mimeType: '', buffer: await oddDelta() },
      { name: 'archive.zip', mimeType: '', buffer: Buffer.from('PK\x03\x04') },
      { name: 'cut.wdelta', mimeType: '', buffer: Buffer.from('wdelta\0\x01\0\0\0\xff\xff') },
      `${SAMPLE}docs-int4.wdelta`,
      `${SAMPLE}step-1.wdelta`,
      at('base.safetensors'),
      at('tuned.safetensors'),
      `${SAMPLE}base.safetensors`,
    );
    await page.locator('.tensors tbody tr').nth(4).waitFor();
    await shot('many-files');
    await driven.view('Rebuild');
    await page.locator('.preflight [data-mood=error]').first().waitFor();
    await shot('does-not-fit');

    await open('#rebuild');
    await driven.give(tuned('ft-sft'), `${SAMPLE}docs-int4.wdelta`);
    await page.locator('[data-key=start]:enabled').click();
    await driven.problem('WRONG_BASE');
    await shot('wrong-base');

    await open('#rebuild');
    await driven.give(at('base.safetensors'), at('large.wdelta'));
    await page.locator('[data-key=start]:enabled').click();
    await page.waitForFunction(() => document.querySelector('.job-bar progress')?.value > 0.3);
    await shot('working', false);
    if (look === 'still') assert.equal(await page.evaluate(() => document.getAnimations().filter(({ effect }) => effect.getTiming().duration > 0).length), 0);
    await key('cancel').click();
    await driven.problem('ABORTED');
    await shot('cancelled');
    await driven.close();
    assert.deepEqual(found, {});
  });
}

test('a tray that scrolls shows that it does, and the delta that is looked at', async () => {
  const buffer = await readFile(`${SAMPLE}docs.wdelta`);
  for (const [width, height] of [[320, 480], [360, 740], [768, 1024], [1280, 720], [1920, 1080]]) {
    const driven = await site.open({ size: { width, height } });
    const { page } = driven;
    await page.getByRole('button', { name: 'Try the sample' }).click();
    await page.locator('.chip').nth(4).waitFor();
    const files = Array.from({ length: 20 }, (_, i) => ({ name: `run-${i}.wdelta`, mimeType: '', buffer }));
    await driven.give(files);
    await driven.view('Lineage');
    const seen = () =>
      page.evaluate(() => {
        const tray = document.querySelector('.tray').getBoundingClientRect();
        const boxes = [...document.querySelectorAll('.chip')].map((chip) => chip.getBoundingClientRect());
        const active = document.querySelector('.chip.active').getBoundingClientRect();
        return {
          cut: boxes.some((box) => (box.top < tray.bottom && box.bottom > tray.bottom) || (box.left < tray.right && box.right > tray.right)),
          // Scrolling goes by whole pixels.
          active: active.top > tray.top - 1 && active.bottom < tray.bottom + 1 && active.left > tray.left - 1 && active.right < tray.right + 1,
          high: tray.height < innerHeight * 0.3,
        };
      });
    assert.deepEqual(await seen(), { cut: true, active: true, high: true }, `${width} px`);
    await page.locator('.node', { hasText: 'run-13.wdelta' }).getByRole('button', { name: 'Inspect' }).click();
    await page.locator('.chip.active', { hasText: 'run-13' }).waitFor();
    assert.ok((await seen()).active, `${width} px`);
    await driven.close();
  }
});

test('what is touched is large enough', async () => {
  for (const [width, height] of [[360, 740], [390, 780], [768, 1024]]) {
    const driven = await site.open({ size: { width, height }, touch: true });
    const { page } = driven;
    await page.getByRole('button', { name: 'Try the sample' }).tap();
    await page.locator('.chip').nth(4).waitFor();
    await page.locator('.map .cell').first().waitFor();
    for (const view of /** @type {const} */ (['Inspect', 'Rebuild', 'Lineage', 'Compare'])) {
      await driven.view(view);
      const small = await page.locator('button, select, .tabs a, .option').evaluateAll((all) =>
        all
          .filter((each) => each.checkVisibility() && !each.matches('.cell, thead *'))
          .map((each) => ({ said: each.textContent, height: each.getBoundingClientRect().height }))
          .filter((each) => each.height < 44),
      );
      assert.deepEqual(small, [], `${view}, ${width} px`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view}, ${width} px`);
    }
    await driven.close();
  }
});
