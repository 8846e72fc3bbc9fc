// The page in Chromium, as its tests drive it: opened from a server, given files, watched for what it must not do.

import assert from 'node:assert/strict';
import { launchChromium } from '../../pkg-scripts/lib/browser.mjs';
import { serve } from '../../pkg-scripts/serve.mjs';

/** Longest wait for anything on the page, in milliseconds. */
export const TIMEOUT = 20_000;

/**
 * A browser and a server for one test file. With WDELTA_SITE the page is that of a folder which `build.mjs --site` wrote.
 *
 * @param {Parameters<typeof serve>[0]} [options] of the server
 */
export async function start(options = { dir: process.env.WDELTA_SITE }) {
  let server = await serve(options);
  const { url } = server;
  const browser = await launchChromium();
  return {
    url,
    /** @param {Parameters<typeof openPage>[2]} [settings] */
    open: (settings) => openPage(browser, url, settings),
    /** Ends the server until `resume`. */
    pause: () => server.close(),
    async resume() {
      server = await serve({ ...options, port: Number(new URL(url).port) });
    },
    async stop() {
      await browser.close();
      await server.close();
    },
  };
}

/**
 * Opens the page in a fresh profile and waits until it says that it is ready.
 *
 * @param {import('playwright-core').Browser} browser
 * @param {string} origin
 * @param {object} [settings]
 * @param {string} [settings.path] of the page, with its hash
 * @param {'light' | 'dark'} [settings.theme]
 * @param {{ width: number, height: number }} [settings.size]
 * @param {boolean} [settings.touch] whether it is a phone's, that is touched
 * @param {string} [settings.script] that runs before the page's own
 */
async function openPage(browser, origin, { path = '', theme = 'light', size, touch = false, script } = {}) {
  const context = await browser.newContext({ colorScheme: theme, acceptDownloads: true, hasTouch: touch, isMobile: touch, ...(size ? { viewport: size } : {}) });
  context.setDefaultTimeout(TIMEOUT);
  /** @type {string[]} */
  const complaints = [];
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
  context.on('request', (request) => {
    const { protocol, origin: found } = new URL(request.url());
    const ours = protocol === 'blob:' || found === new URL(origin).origin;
    if (!ours || request.method() !== 'GET') complaints.push(`request: ${request.method()} ${request.url()}`);
  });
  const page = await context.newPage();
  await page.addInitScript(() => {
    // The native pickers cannot be driven; without them the page takes the ways of other browsers.
    delete (/** @type {any} */ (globalThis).showOpenFilePicker);
    delete (/** @type {any} */ (globalThis).showSaveFilePicker);
    addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
      console.error(`policy violated: ${violatedDirective} ${blockedURI}`),
    );
  });
  if (script) await page.addInitScript(script);
  await page.goto(origin + path);
  await page.locator('html[data-ready]').waitFor();
  return new Driven(page, context, complaints);
}

/** Puts a delta at the end of the chain in Rebuild. @param {import('playwright-core').Page} page @param {string} name */
export async function addDelta(page, name) {
  await page.getByLabel('Next delta').selectOption(name);
  await page.getByRole('button', { name: 'Add', exact: true }).click();
}

/** A page under test. */
class Driven {
  /** @param {import('playwright-core').Page} page @param {import('playwright-core').BrowserContext} context @param {string[]} complaints */
  constructor(page, context, complaints) {
    this.page = page;
    this.context = context;
    this.complaints = complaints;
  }

  /** @param {...(string | { name: string, mimeType: string, buffer: Buffer })} files paths, or files from memory */
  async give(...files) {
    for (const file of files) {
      const chips = await this.page.locator('.chip').count();
      const chooser = this.page.waitForEvent('filechooser');
      await this.page.getByRole('button', { name: 'Open…', exact: true }).click();
      await (await chooser).setFiles(/** @type {any} */ (file));
      await this.page.locator('.chip').nth(chips).waitFor();
      await this.page.waitForFunction(() => !document.querySelector('.chip[aria-busy="true"]'));
    }
  }

  /** @param {'Inspect' | 'Compare' | 'Lineage' | 'Rebuild' | 'Make'} view */
  async view(view) {
    await this.page.locator('.tabs').getByRole('link', { name: view }).click();
    await this.page.locator(`html[data-view="${view.toLowerCase()}"]`).waitFor();
  }

  /** Waits for an error with this code and gives its text. @param {string} code */
  async problem(code) {
    const found = this.page.locator(`[data-code="${code}"]`).first();
    await found.waitFor();
    return found.innerText();
  }

  /** Presses a button that starts a download; gives its name and bytes. @param {string | RegExp} name */
  async download(name) {
    const started = this.page.waitForEvent('download');
    await this.page.getByRole('button', { name }).first().click();
    const file = await started;
    const parts = [];
    for await (const part of await file.createReadStream()) parts.push(part);
    return { name: file.suggestedFilename(), bytes: Buffer.concat(parts) };
  }

  /** Files in the browser's private storage: path and SHA-256. @returns {Promise<Record<string, string>>} */
  privateFiles() {
    return this.page.evaluate(async () => {
      /** @type {Record<string, string>} */
      const found = {};
      const walk = async (/** @type {any} */ folder, /** @type {string} */ path) => {
        for await (const [name, handle] of folder.entries()) {
          if (handle.kind === 'directory') await walk(handle, `${path}${name}/`);
          else {
            const digest = await crypto.subtle.digest('SHA-256', await (await handle.getFile()).arrayBuffer());
            found[path + name] = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
          }
        }
      };
      await walk(await navigator.storage.getDirectory(), '');
      return found;
    });
  }

  /** Closes the page, which must have done nothing that it must not do. */
  async close() {
    await this.context.close();
    assert.deepEqual(this.complaints, []);
  }
}
