// @ts-check
// The package. Its workers are made here, through the page's one Trusted Types policy.

import { init } from '../pkg/index.js';

export * from '../pkg/index.js';

const site = new URL('../', import.meta.url);

/** @typedef {{ createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): string } }} TrustedTypes */
const types = /** @type {{ trustedTypes?: TrustedTypes }} */ (/** @type {unknown} */ (globalThis)).trustedTypes;

const policy = types?.createPolicy('wdelta', {
  createScriptURL(url) {
    const { href } = new URL(url, site);
    if (!href.startsWith(site.href)) throw new TypeError(`Scripts come from this site only, not from ${href}.`);
    return href;
  },
});

/** @param {string | URL} url of a script of this site @returns {string} in fact a TrustedScriptURL, where the browser knows those */
export const scriptUrl = (url) => policy?.createScriptURL(String(url)) ?? new URL(url, site).href;

/**
 * The core that reads is loaded while the user still looks for a file; every call waits for it, and tries again where
 * that failed. The whole one, half as large again, is loaded with the first Make.
 */
export const ready = init({
  module: new URL('pkg/wdelta_read.wasm', site),
  encoder: new URL('pkg/wdelta_bg.wasm', site),
  createWorker: () => new Worker(scriptUrl('pkg/worker.js'), { type: 'module', name: 'wdelta' }),
});
