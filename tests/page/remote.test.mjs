// remote.html: files of another host by https, in parts; and what it says where that is not possible.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium } from '../../pkg-scripts/lib/browser.mjs';
import { parseRange, serve } from '../../pkg-scripts/serve.mjs';

const FILE = readFileSync(new URL('../../www/sample/docs-int4.wdelta', import.meta.url));

let site, browser, host;
/** Lets a held request to /ranges/ go on. @type {(() => void) | undefined} */
let release;
/** Whether such a request is to be held. */
let hold = false;
/** @type {{ method: string, range?: string, cookie?: string, referer?: string }[]} */
const asked = [];

/** A host of one file with a certificate of its own: /ranges/, /whole/ (knows no ranges), /closed/ (allows no other site). */
async function startHost() {
  const folder = mkdtempSync(join(tmpdir(), 'wdelta-https-'));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost'];
  execFileSync('openssl', [...request, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, ({ url, method, headers: got }, response) => {
    asked.push({ method, range: got.range, cookie: got.cookie, referer: got.referer });
    const kind = url.split('/')[1];
    const exposed = { 'access-control-allow-headers': 'range', 'access-control-expose-headers': 'content-range, content-length, etag' };
    const headers = kind === 'closed' ? {} : { 'access-control-allow-origin': '*', ...exposed };
    if (method === 'OPTIONS') return response.writeHead(204, headers).end();
    const range = kind === 'ranges' ? parseRange(got.range, FILE.length) : undefined;
    const [from, to] = Array.isArray(range) ? range : [0, FILE.length];
    if (range) headers['content-range'] = `bytes ${from}-${to - 1}/${FILE.length}`;
    const answer = () => response.writeHead(range ? 206 : 200, { ...headers, 'content-length': to - from }).end(FILE.subarray(from, to));
    if (hold) release = answer;
    else answer();
  });
  rmSync(folder, { recursive: true });
  await new Promise((done) => server.listen(0, '127.0.0.1', () => done(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return { url: `https://localhost:${port}/`, close: () => server.close() };
}

before(async () => {
  [site, browser, host] = await Promise.all([serve(), launchChromium(), startHost()]);
});
after(async () => {
  await browser?.close();
  host?.close();
  await site?.close();
});

/** Opens a link of the host; `page` is where, remote.html unless told otherwise. */
async function open(kind, page = 'remote.html') {
  asked.length = 0;
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const tab = await context.newPage();
  const errors = [];
  tab.on('pageerror', (error) => errors.push(String(error)));
  await tab.goto(`${site.url}${page}#url=${encodeURIComponent(`${host.url}${kind}/docs-int4.wdelta`)}`);
  return {
    tab,
    async leave() {
      await context.close();
      assert.deepEqual(errors, []);
      assert.ok(asked.length > 0);
      for (const { cookie, referer } of asked) assert.deepEqual([cookie, referer], [undefined, undefined]);
    },
  };
}

test('a link is read in parts, and can be checked', async () => {
  const { tab, leave } = await open('ranges');
  await tab.locator('.tensors tbody tr').first().waitFor();
  assert.ok(asked.every(({ method, range }) => method === 'OPTIONS' || range), 'every read asks for a range');
  await tab.getByRole('button', { name: 'Check the file' }).click();
  await tab.getByText('Checksum and records are good.').waitFor();
  await leave();
});

test('a link that is removed while its host is asked stays away', async () => {
  hold = true;
  const { tab, leave } = await open('ranges');
  while (!release) await new Promise((done) => setTimeout(done, 20));
  await tab.getByRole('button', { name: /^Remove / }).click();
  await tab.locator('.chip').waitFor({ state: 'detached' });
  hold = false;
  // The page goes on from here as soon as it has the bytes, and draws what it makes of them a frame later.
  await tab.evaluate(() => {
    const { arrayBuffer } = Response.prototype;
    Response.prototype.arrayBuffer = async function () {
      const bytes = await arrayBuffer.call(this);
      requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(() => (globalThis.settled = true))));
      return bytes;
    };
  });
  release();
  await tab.waitForFunction(() => globalThis.settled);
  assert.equal(await tab.locator('.chip').count(), 0);
  await leave();
});

test('a host without ranges: the size is said, the whole file offered', async () => {
  const { tab, leave } = await open('whole');
  await tab.locator('[data-code=NO_RANGES]').waitFor();
  assert.match(await tab.locator('.notice').innerText(), /189\skB/);
  await tab.getByRole('button', { name: 'Download the whole file' }).click();
  await tab.locator('.tensors tbody tr').first().waitFor();
  await leave();
});

test('a host that allows no other site: said, with a way out', async () => {
  const { tab, leave } = await open('closed');
  await tab.locator('.notice', { hasText: 'CORS' }).waitFor();
  // What is said of files on disk does not help here.
  assert.match(await tab.locator('.notice').innerText(), /Try again/);
  assert.doesNotMatch(await tab.locator('.notice').innerText(), /disk/);
  await leave();
});

test('index.html hands a link over, since it may not read it', async () => {
  const { tab, leave } = await open('ranges', '');
  await tab.waitForURL(/remote\.html/);
  await tab.locator('.tensors tbody tr').first().waitFor();
  await leave();
});

test('each page says what it sends', async () => {
  for (const [path, text] of [
    ['', /They are read where they lie, and nothing is sent anywhere\./],
    ['remote.html', /They are read where they lie\. Links are fetched from their hosts, and nothing else is sent\./],
  ]) {
    const page = await browser.newPage();
    await page.goto(site.url + path);
    const said = await page.locator('.drop-zone').innerText();
    assert.match(said, text);
    assert.match(said, /paste an https link/);
    await page.close();
  }
});
