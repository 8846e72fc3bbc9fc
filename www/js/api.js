// @ts-check
// The package, loaded once. Its workers are made here, through the page's one Trusted Types policy.

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

/** @typedef {typeof import('../pkg/index.js')} Api */

/** @type {Promise<Api> | undefined} */
let loading;

/** @returns {Promise<Api>} */
export function api() {
  loading ??= load().catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

async function load() {
  const wdelta = await import('../pkg/index.js');
  await wdelta.init({
    createWorker: () => new Worker(scriptUrl('pkg/worker.js'), { type: 'module', name: 'wdelta' }),
  });
  return wdelta;
}

/** The package's version. */
export const version = async () => (await api()).version();
