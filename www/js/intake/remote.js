// @ts-check
// Links: only remote.html may open them. Each is asked for one byte first, to learn its size and whether parts can be read.

import { addUrl, newId, take } from './intake.js';
import { problemOf } from '../errors.js';
import { bytes } from '../format.js';

/** @import { Store } from '../state.js' */
/** @import { Problem } from '../types.js' */
/** @import { Jobs } from '../jobs.js' */

/** Whether this document's policy lets links be read. */
export const remote = document.documentElement.dataset.remote !== undefined;

/** @param {string} text @returns {URL | null} a link that can be opened */
export function linkOf(text) {
  if (!URL.canParse(text.trim())) return null;
  const url = new URL(text.trim());
  // The page of a file at Hugging Face is not the file; the address of the file follows from it.
  if (url.hostname === 'huggingface.co') url.pathname = url.pathname.replace('/blob/', '/resolve/');
  return url.protocol === 'https:' || (url.protocol === 'http:' && url.origin === location.origin) ? url : null;
}

/** @type {RequestInit} */
const QUIET = { credentials: 'omit', referrerPolicy: 'no-referrer' };

/** @param {URL} url */
const nameOf = (url) => decodeURIComponent(url.pathname.slice(url.pathname.lastIndexOf('/') + 1)) || url.hostname;

/**
 * Opens a link, or says why not.
 * @param {Store} store @param {URL} url
 */
export async function openLink(store, url) {
  const id = newId();
  const name = nameOf(url);
  store.dispatch({
    type: 'add',
    entry: {
      id,
      name,
      role: 'unknown',
      size: 0,
      source: url.href,
      files: 1,
      state: 'reading',
      reading: `asking ${url.hostname} for its size`,
    },
  });
  const fail = (/** @type {Problem} */ problem, size = 0) =>
    store.dispatch({ type: 'entry', id, values: { state: 'failed', problem, size } });
  try {
    const response = await fetch(url, { ...QUIET, headers: { Range: 'bytes=0-15' } });
    const size = Number(
      /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1] ?? response.headers.get('content-length') ?? 0,
    );
    if (response.status !== 206) {
      await response.body?.cancel();
      if (!response.ok)
        return fail({
          code: 'IO',
          message: `${url.hostname} answered ${response.status}. No credentials are sent; private files need a local copy.`,
          source: url.href,
          retryable: true,
        });
      return fail(
        {
          code: 'NO_RANGES',
          message: `${url.hostname} does not send parts of a file. The whole file${size ? ` has ${bytes(size)}` : '’s size is not known'}.`,
        },
        size,
      );
    }
    const head = new Uint8Array(await response.arrayBuffer());
    // It may have been removed while its host was asked.
    if (!store.state.entries.some((entry) => entry.id === id)) return;
    store.dispatch({ type: 'remove', id });
    addUrl(store, url.href, name, size, String.fromCharCode(...head.subarray(0, 7)) === 'wdelta\0');
  } catch (error) {
    const problem = problemOf(error);
    const refused = error instanceof TypeError;
    fail(
      refused
        ? {
            code: 'IO',
            message: 'It cannot be reached, or its server does not let other sites read it (CORS). Download it and open the copy.',
            source: url.href,
            retryable: true,
          }
        : problem,
    );
  }
}

/**
 * Downloads a whole file with progress, then opens it as a local one.
 * @param {Store} store @param {Jobs} jobs @param {{ id: string, source: unknown, name: string }} entry
 */
export async function fetchWhole(store, jobs, { id, source, name }) {
  const blob = await jobs.run('fetch', 'Download', async ({ signal, onProgress }) => {
    const response = await fetch(String(source), { ...QUIET, signal });
    if (!response.ok || !response.body)
      throw Object.assign(new Error(`The host answered ${response.status}.`), { code: 'IO', retryable: true });
    const total = Number(response.headers.get('content-length') ?? 0);
    let done = 0;
    const counted = response.body.pipeThrough(
      new TransformStream({
        transform(chunk, controller) {
          done += chunk.length;
          onProgress({ phase: 'downloading', done, total });
          controller.enqueue(chunk);
        },
      }),
    );
    return new Response(counted).blob();
  });
  if (blob) await take(store, [{ file: new File([blob], name), path: name }], { replace: id });
}
