// @ts-check
// The package, loaded once. Its workers are made here, through the page's one Trusted Types policy.

/** @import { DecodeResult, Diff, EncodeResult, Inspection, Lineage, Plan, Progress, Source, Stats, VerifyResult } from './types.js' */

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
 * @typedef {{ signal?: AbortSignal, onProgress?: (progress: Progress) => void }} Running
 * @typedef {{ base?: Source, finetuned?: Source, deltas?: Source[], parents?: Source[], a?: Source, b?: Source, output?: unknown } & Running & Record<string, unknown>} Job
 * @typedef {{ name: string, dtype: string, shape: number[], rows: [number, number], data: Float32Array | Uint8Array }} Piece
 * @typedef {{
 *   init(options: object): Promise<void>,
 *   version: string | (() => string),
 *   inspect(delta: Source, options?: Running & { workers?: number }): Promise<Inspection>,
 *   plan(job: Job): Promise<Plan>,
 *   encode(job: Job): Promise<EncodeResult & { data?: Uint8Array }>,
 *   decode(job: Job): Promise<DecodeResult & { data?: Uint8Array }>,
 *   verify(job: Job): Promise<VerifyResult>,
 *   lineage(job: Job): Promise<Lineage>,
 *   diff(job: Job): Promise<Diff>,
 *   stats(job: Job): AsyncIterable<Stats>,
 *   tensors(job: Job): AsyncIterable<Piece>,
 * }} Api what the page uses of the package
 */

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
  const wdelta = /** @type {Api} */ (/** @type {unknown} */ (await import('../pkg/index.js')));
  await wdelta.init({
    createWorker: () => new Worker(scriptUrl('pkg/worker.js'), { type: 'module', name: 'wdelta' }),
  });
  return wdelta;
}

export async function version() {
  const { version } = await api();
  return typeof version === 'function' ? version() : version;
}
