// Rebuild and make from files: the bytes that Node gives, and files that do not fit, are damaged or mean harm.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { decode, encode, plan } from '../../pkg/node.js';
import { readModel, writeModel } from '../../pkg-scripts/lib/safetensors.mjs';
import { addDelta, start } from './browser.mjs';
import { DATA } from './data.mjs';
import { hollowDelta } from './models.mjs';

const model = (name) => fileURLToPath(new URL(`${name}.safetensors`, DATA));
const [BASE, SFT, STEP1, STEP2] = ['base', 'ft-sft', 'ft-step1', 'ft-step2'].map(model);
const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '__proto__',
  'constructor',
  'a\u202Egnp.exe',
  'zero\u200Bwidth',
  'line\nbreak\u0000',
  '"></bdi><script>alert(1)</script>',
  'שלום.weight',
  '',
  ' ',
];
/** The same as the page shows them. */
const SHOWN = HOSTILE.map((name) =>
  name === '' ? '(no name)' : name === ' ' ? '[U+0020]' : name.replace(/[\u202E\u200B\n\u0000]/g, (char) => `[U+${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`),
);

let folder, site;
const path = (name) => join(folder, name);

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** A file the browser has in memory. */
const named = (name, bytes) => ({ name, mimeType: 'application/octet-stream', buffer: Buffer.from(bytes) });

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-page-'));
  await encode({ base: BASE, finetuned: SFT, strategy: 'int4', output: path('sft.wdelta') });
  await encode({ base: BASE, finetuned: STEP1, strategy: 'int4', output: path('one.wdelta') });
  await encode({ base: BASE, finetuned: STEP2, parents: [path('one.wdelta')], strategy: 'int4', output: path('two.wdelta') });
  site = await start();
});

after(async () => {
  await site?.stop();
  await rm(folder, { recursive: true });
});

test('a file that is open already is not opened once more', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(path('one.wdelta'), BASE, path('two.wdelta'));
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Open…', exact: true }).click();
  await (await chooser).setFiles([BASE, path('one.wdelta'), path('sft.wdelta')]);
  await page.locator('.chip').nth(3).waitFor();
  assert.match(await page.locator('.notices').innerText(), /one\.wdelta is open already\./);
  assert.deepEqual(
    await page.locator('.chip .name').evaluateAll((names) => names.map((name) => name.title)),
    ['one.wdelta', 'base.safetensors', 'two.wdelta', 'sft.wdelta'],
  );
  await driven.close();
});

test('another file of the same name, size and time is opened', async () => {
  const time = new Date(0);
  const models = await Promise.all(
    [BASE, SFT].map(async (model, i) => {
      const place = join(folder, `archive ${i}`, 'model.safetensors');
      await mkdir(dirname(place));
      await copyFile(model, place);
      await utimes(place, time, time);
      return place;
    }),
  );
  const driven = await site.open();
  await driven.give(...models);
  assert.equal(await driven.page.locator('.chip').count(), 2);
  await driven.close();
});

test('two models of the same name are told apart, and what a link needs does not close them', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(named('model.safetensors', await readFile(BASE)), named('model.safetensors', await readFile(SFT)));
  assert.deepEqual(
    await page.locator('.chip .name').evaluateAll((names) => names.map((name) => name.title)),
    ['model.safetensors', 'model (2).safetensors'],
  );
  await page.locator('[data-key=start]:enabled').click();
  await page.locator('[data-result]').waitFor();
  // The number is the page's own: what is rebuilt has the name that the fine-tune's file has.
  const { bytes } = await driven.download('Download model (2).wdelta');
  const { outputs } = await plan({ job: 'decode', base: BASE, deltas: [bytes], output: `${folder}/rebuilt/` });
  assert.deepEqual(outputs.map(({ path: file }) => file), ['model.safetensors']);
  await page.getByRole('button', { name: 'More ways to open' }).click();
  const opened = page.context().waitForEvent('page');
  await page.getByRole('button', { name: 'Link…' }).click();
  assert.match((await opened).url(), /remote\.html$/);
  assert.equal(await page.locator('.chip').count(), 3);
  await driven.close();
});

test('what the page must not do is noticed', async () => {
  const driven = await site.open();
  await driven.page.evaluate(async () => {
    const violated = new Promise((done) => addEventListener('securitypolicyviolation', done, { once: true }));
    await fetch('https://elsewhere.invalid/').catch(() => {});
    await violated;
    await fetch('./', { method: 'POST', body: 'x' });
  });
  const all = driven.complaints.join('\n');
  assert.match(all, /policy violated: connect-src/);
  assert.match(all, /request: POST/);
  await assert.rejects(driven.close(), assert.AssertionError);
});

test('a rebuilt model is downloaded with the bytes that Node gives', async () => {
  for (const dtype of ['base', 'float32']) {
    const driven = await site.open({ path: '#rebuild' });
    await driven.give(path('sft.wdelta'), BASE);
    await driven.page.getByRole('radio', { name: dtype === 'base' ? /^As the base/ : /^float32/ }).check();
    await driven.page.getByRole('button', { name: 'Rebuild model' }).click();
    await driven.page.locator('[data-result]').waitFor();
    const { name, bytes } = await driven.download(/^Download sft/);
    assert.equal(name, 'sft.safetensors');
    const expected = (await decode({ base: BASE, deltas: [path('sft.wdelta')], dtype })).data;
    assert.ok(bytes.equals(expected), `${dtype}: ${bytes.length} bytes, Node gives ${expected.length}`);
    await driven.page.getByRole('button', { name: 'Delete private copy' }).click();
    await driven.page.waitForFunction(() => !document.querySelector('[data-key^="drop "]'));
    assert.deepEqual(await driven.privateFiles(), {});
    await driven.close();
  }
});

for (const [what, place, script] of /** @type {const} */ ([
  ['where a private window refuses the private storage, results go through memory', /^Memory/, `StorageManager.prototype.getDirectory = async () => { throw new DOMException('refused', 'UnknownError'); };`],
  ['where only workers can write to private files, as in Safari before version 26, small results are such files too', /^Private storage/, 'delete FileSystemFileHandle.prototype.createWritable'],
])) {
  test(what, async () => {
    const driven = await site.open({ path: '#rebuild', script });
    await driven.give(path('sft.wdelta'), BASE);
    assert.ok(await driven.page.getByRole('radio', { name: place }).isChecked());
    await driven.page.getByRole('button', { name: 'Rebuild model' }).click();
    await driven.page.locator('[data-result]').waitFor();
    const { bytes } = await driven.download(/^Download sft/);
    assert.ok(bytes.equals((await decode({ base: BASE, deltas: [path('sft.wdelta')] })).data));
    await driven.close();
  });
}

test('a model goes into the file that was picked, which a failure leaves out', async () => {
  // The picker, with a file of the private storage in place of one on disk.
  const script = `globalThis.stub = async ({ suggestedName }) =>
    (await navigator.storage.getDirectory()).getFileHandle('picked ' + suggestedName, { create: true });`;
  for (const base of [BASE, SFT]) {
    const driven = await site.open({ path: '#rebuild', script });
    await driven.page.evaluate(() => (globalThis.showSaveFilePicker = globalThis.stub));
    await driven.give(base, path('sft.wdelta'));
    await driven.page.getByRole('radio', { name: /^A file on this machine/ }).check();
    await driven.page.getByRole('button', { name: 'Rebuild model' }).click();
    if (base === BASE) {
      await driven.page.locator('[data-result]').waitFor();
      const { data } = await decode({ base, deltas: [path('sft.wdelta')] });
      assert.deepEqual(await driven.privateFiles(), { 'picked sft.safetensors': sha256(data) });
    } else {
      await driven.problem('WRONG_BASE');
      assert.deepEqual(await driven.privateFiles(), {});
    }
    await driven.close();
  }
});

test('a result that cannot be read back is a failure that is shown', async () => {
  const driven = await site.open({ path: '#rebuild' });
  await driven.page.evaluate(() => {
    globalThis.showSaveFilePicker = async () => {
      const handle = await (await navigator.storage.getDirectory()).getFileHandle('picked', { create: true });
      let asked = 0;
      // The package asks before it writes; afterwards somebody has moved the file.
      handle.getFile = async () => {
        if (asked++) throw new DOMException('It is gone.', 'NotFoundError');
        return new File([], 'picked');
      };
      return handle;
    };
  });
  await driven.give(BASE, path('sft.wdelta'));
  await driven.page.getByRole('radio', { name: /^A file on this machine/ }).check();
  await driven.page.getByRole('button', { name: 'Rebuild model' }).click();
  assert.match(await driven.problem('SOURCE_CHANGED'), /It is gone/);
  await driven.close();
});

test('a drag of text that comes and goes does not hide what is said of files', async () => {
  const driven = await site.open();
  const shown = await driven.page.evaluate(() => {
    const drag = (type, file) => {
      const dataTransfer = new DataTransfer();
      if (file) dataTransfer.items.add(new File(['x'], 'x.wdelta'));
      else dataTransfer.setData('text/plain', 'x');
      dispatchEvent(new DragEvent(type, { dataTransfer }));
    };
    drag('dragenter', false);
    drag('dragleave', false);
    // Over the window, then over something in it.
    drag('dragenter', true);
    drag('dragenter', true);
    drag('dragleave', true);
    const over = !document.querySelector('.veil').hidden;
    drag('dragleave', true);
    return [over, !document.querySelector('.veil').hidden];
  });
  assert.deepEqual(shown, [true, false]);
  await driven.close();
});

test('a chain is rebuilt in order from memory', async () => {
  const driven = await site.open({ path: '#rebuild' });
  await driven.give(BASE, path('one.wdelta'), path('two.wdelta'));
  await addDelta(driven.page, 'two.wdelta');
  await driven.page.getByRole('radio', { name: /^Memory/ }).check();
  await driven.page.getByRole('button', { name: 'Rebuild model' }).click();
  await driven.page.locator('[data-result]').waitFor();
  const { bytes } = await driven.download(/^Download two/);
  assert.ok(bytes.equals((await decode({ base: BASE, deltas: [path('one.wdelta'), path('two.wdelta')] })).data));
  assert.deepEqual(await driven.privateFiles(), {});
  await driven.close();
});

test('a made delta has the bytes that Node gives, its size as announced', async () => {
  for (const strategy of ['int4', 'sparse', 'quantized']) {
    const driven = await site.open({ path: '#make' });
    await driven.give(BASE, SFT);
    await driven.page.getByRole('radio', { name: new RegExp(`^${strategy}`) }).check();
    const begin = driven.page.locator('[data-key="start"]');
    await begin.click();
    await driven.page.locator('[data-result]').waitFor();
    const { name, bytes } = await driven.download(/^Download ft-sft/);
    assert.equal(name, `ft-sft-${strategy}.wdelta`);
    const { data } = await encode({ base: BASE, finetuned: SFT, strategy });
    assert.ok(bytes.equals(data), `${strategy}: ${bytes.length} bytes, Node gives ${data.length}`);
    await driven.close();
  }
});

test('an option that is no number is refused by its name', async () => {
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(BASE, SFT);
  for (const [strategy, field, name] of [['sparse', 'Share of values dropped', 'sparsity'], ['int4', 'Share of outliers kept apart', 'outlierFraction'], ['lossy', /^Quality/, 'quality']]) {
    await page.getByRole('radio', { name: new RegExp(`^${strategy}`) }).check();
    await page.locator('[data-key=start]:enabled').waitFor();
    for (const text of ['abc', '']) {
      await page.getByRole('textbox', { name: field }).fill(text);
      await page.locator('[data-key=start]:disabled').waitFor();
      assert.match(await driven.problem('USAGE'), new RegExp(name, 'i'));
    }
  }
  await driven.close();
});

test('a base that is not the one is named, and nothing is left', async () => {
  const driven = await site.open({ path: '#rebuild' });
  await driven.give(SFT, path('sft.wdelta'));
  await driven.page.getByRole('button', { name: 'Rebuild model' }).click();
  const text = await driven.problem('WRONG_BASE');
  assert.match(text, /Made against another base/);
  assert.match(text, /[0-9a-f]{12}/);
  assert.deepEqual(await driven.privateFiles(), {});
  // Another one takes its place, and with the old one its problem goes.
  const chooser = driven.page.waitForEvent('filechooser');
  await driven.page.getByRole('button', { name: 'Choose another base…' }).first().click();
  await (await chooser).setFiles(BASE);
  await driven.page.locator('[data-code]').first().waitFor({ state: 'detached' });
  await driven.page.locator('[data-key=start]:enabled').waitFor();
  assert.equal(await driven.page.locator('.chip').count(), 2);
  await driven.page.locator('[data-key=start]:enabled').click();
  await driven.page.locator('[data-result]').waitFor();
  await driven.close();
});

test('a model with other shapes is refused before the start', async () => {
  const tensors = readModel(BASE);
  const [[name, first]] = tensors;
  const [rows, ...rest] = first.shape;
  const bytes = first.bytes.subarray(0, (first.bytes.length / rows) * (rows - 1));
  tensors.set(name, { ...first, shape: [rows - 1, ...rest], bytes });
  const driven = await site.open({ path: '#rebuild' });
  await driven.give(path('sft.wdelta'), named('other.safetensors', writeModel(tensors)));
  await driven.page.locator('.preflight [data-mood=error]').first().waitFor();
  assert.match(await driven.page.locator('.preflight').innerText(), /SHAPE_MISMATCH/);
  assert.ok(await driven.page.getByRole('button', { name: 'Rebuild model' }).isDisabled());
  await driven.close();
});

test('a chain with a link missing is named, here and in Lineage', async () => {
  const driven = await site.open({ path: '#rebuild' });
  await driven.give(BASE, path('sft.wdelta'), path('two.wdelta'));
  await addDelta(driven.page, 'two.wdelta');
  await driven.page.getByRole('button', { name: 'Rebuild model' }).click();
  assert.match(await driven.problem('BROKEN_CHAIN'), /do not follow each other/);
  assert.deepEqual(await driven.privateFiles(), {});
  await driven.view('Lineage');
  await driven.page.getByRole('button', { name: /^Check the links/ }).click();
  await driven.page.getByText('2 deltas; links: 1 verified, 1 broken.').waitFor();
  await driven.close();
});

test('damaged files are told apart, and do not take others down', async () => {
  const whole = await readFile(path('sft.wdelta'));
  const flipped = Buffer.from(whole);
  flipped[whole.length - 5000] ^= 1;
  const driven = await site.open();
  const zip = named('zip.wdelta', Buffer.from('PK\x03\x04 and so on'));
  await driven.give(path('sft.wdelta'), named('cut.wdelta', whole.subarray(0, 20_000)), zip);
  await driven.problem('TRUNCATED');
  await driven.problem('NOT_WDELTA');
  await driven.page.locator('.summary').getByText('int4 · v1').waitFor();
  await driven.close();

  const rebuild = await site.open({ path: '#rebuild' });
  await rebuild.give(BASE, named('flipped.wdelta', flipped));
  await rebuild.page.getByRole('button', { name: 'Rebuild model' }).click();
  assert.match(await rebuild.problem('CHECKSUM'), /flipped\.wdelta/);
  assert.deepEqual(await rebuild.privateFiles(), {});
  await rebuild.close();
});

test('that a tensor cannot be measured is said beside the table, which stays', async () => {
  const bytes = hollowDelta(Array.from({ length: 40 }, (_, i) => [`layers.${i}`, [4, 4]]));
  // The index of an outlier of the first tensor: it lies before the name of the next record.
  bytes[bytes.indexOf('outlier_vals') - 4 - 'layers.0'.length - 4 - 8] = 99;
  const driven = await site.open();
  const { page } = driven;
  await driven.give(named('odd.wdelta', bytes));
  const rows = page.locator('.tensors tbody tr');
  await rows.first().waitFor();
  const top = () => page.evaluate(() => scrollY + document.querySelector('.scroller').getBoundingClientRect().top);
  const before = await top();
  await rows.first().click();
  await page.locator('.details [data-code]').waitFor();
  assert.equal(await top(), before);
  await rows.nth(1).click();
  await page.locator('.details dt').getByText('RMS', { exact: true }).waitFor();
  assert.equal(await page.locator('[data-code]').count(), 0);
  await driven.close();
});

test('of models alone all are named, and it is said what they are for', async () => {
  const driven = await site.open();
  const { page } = driven;
  await driven.give(BASE, SFT);
  for (const name of ['base', 'ft-sft']) await page.getByText(`${name}.safetensors is open as a model`).waitFor();
  await page.getByRole('button', { name: 'Make their delta' }).waitFor();
  await driven.view('Compare');
  await page.getByRole('button', { name: /^Measure similarity/ }).waitFor();
  assert.equal(await page.locator('aside.details').innerText(), '');
  await driven.close();
});

test('tensors that the base lacks are not said to be in it', async () => {
  const tensor = { dtype: 'F32', shape: [2], bytes: Buffer.alloc(8) };
  const driven = await site.open({ path: '#make' });
  const { page } = driven;
  await driven.give(named('a.safetensors', writeModel(new Map([['a', tensor]]))), named('b.safetensors', writeModel(new Map([['b', tensor], ['c', tensor]]))));
  await page.locator('[data-key=start]:enabled').waitFor();
  await page.locator('.preflight').getByText(/^2\stensors; any that the base lacks are stored whole\.$/).waitFor();
  await page.getByRole('radio', { name: /^int4/ }).check();
  await driven.problem('MISSING_TENSOR');
  await page.locator('#why').getByText('Not possible, see above.').waitFor();
  await driven.close();
});

test('hostile tensor names are text', async () => {
  const make = (add) => {
    const values = Float32Array.from({ length: 512 }, (_, i) => Math.sin(i) + add * Math.cos(3 * i));
    const tensor = { dtype: 'F32', shape: [16, 32], bytes: Buffer.from(values.buffer) };
    return writeModel(new Map(HOSTILE.map((name) => [name, tensor])));
  };
  const [base, finetuned] = [make(0), make(0.01)];
  const { data } = await encode({ base, finetuned, strategy: 'int4' });
  const driven = await site.open();
  const { page } = driven;
  page.on('dialog', (dialog) => assert.fail(`a dialog opened: ${dialog.message()}`));
  await driven.give(named('<b>evil\u202E.wdelta', data), named('base.safetensors', base));
  const rows = page.locator('table[aria-rowcount] tbody tr[aria-rowindex]');
  await rows.nth(HOSTILE.length - 1).waitFor();
  const text = (await rows.allTextContents()).join('\n');
  for (const shown of SHOWN) assert.ok(text.includes(shown), `${shown} in ${text}`);
  assert.equal(await page.locator('img, script:not([type=module][src]), body b').count(), 0);
  for (let i = 0; i < HOSTILE.length; i++) {
    await rows.nth(i).click();
    await page.locator('aside.details h2').waitFor();
  }
  assert.ok(!/[\u202E\u200B\u0000]/.test(await page.locator('body').innerText()), 'no character that turns or hides text');
  await driven.view('Rebuild');
  await page.getByRole('button', { name: 'Rebuild model' }).click();
  await page.locator('[data-result]').waitFor();
  const saved = await driven.download(/^Download /);
  assert.ok(!/[<>\u202E/\\]/.test(saved.name), saved.name);
  assert.ok(saved.bytes.equals((await decode({ base, deltas: [data] })).data));
  await driven.close();
});
