// @ts-check
// A file behind a URL, read in ranges. Always from the calling thread: so workers need no network, and small reads share
// what was fetched.
/** @import { CallOptions, Source, Spool } from './types.js' */
import { Blocks } from './blocks.js';
import { WdeltaError, checkAbort, orAborted } from './errors.js';
import { spoolFor } from './spool.js';

/** How often a request is made before it counts as failed, and the pause after the first, in ms; it doubles. */
const TRIES = 4;
const PAUSE = 250;

/** @implements {Source} */
export class UrlSource {
  /** @type {string | null} */
  #etag = null;
  /** The whole file, where the server has no ranges. @type {Spool | undefined} */
  #spool;
  size = 0;
  #blocks = new Blocks(0, (start, end) => this.#range(start, end));

  /**
   * @param {Request} request
   * @param {CallOptions} call
   */
  constructor(request, { signal }) {
    this.request = request;
    this.signal = signal;
    this.name = request.url.replace(/[?#].*/s, '');
    this.path = decode(new URL(request.url).pathname.split('/').pop() || 'file');
  }

  /**
   * @param {Request} request
   * @param {CallOptions} call
   */
  static async open(request, call) {
    const source = new UrlSource(request, call);
    try {
      await source.#probe(call);
    } catch (error) {
      await source.close();
      throw error;
    }
    return source;
  }

  /**
   * Asks for the first byte: unlike HEAD, that shows whether ranges work.
   * @param {CallOptions} call
   */
  async #probe({ allowFullRead }) {
    const { response } = await this.#fetch('bytes=0-0');
    const total = totalOf(response);
    this.#etag = response.headers.get('etag');
    if (response.status !== 200) {
      this.size = this.#blocks.size = Number(total ?? (await this.#head()));
      if (!Number.isSafeInteger(this.size)) throw this.#error('IO', 'has no sensible size');
    } else if (allowFullRead) await this.#readAll(response);
    else {
      await response.body?.cancel();
      throw this.#noRanges();
    }
  }

  /**
   * @param {number} offset
   * @param {Uint8Array} into
   */
  read(offset, into) {
    if (this.#spool) return this.#spool.read(offset, into);
    return this.#blocks.read(offset, into.length, (part, from) => into.set(part, from));
  }

  async close() {
    await this.#spool?.close();
  }

  /**
   * @param {number} start
   * @param {number} end
   */
  async #range(start, end) {
    const { response, body } = await this.#fetch(`bytes=${start}-${end - 1}`);
    const { status } = response;
    const etag = response.headers.get('etag');
    const total = totalOf(response);
    if (status === 416 || (etag && this.#etag && etag !== this.#etag) || (total && Number(total) !== this.size)) {
      throw this.#error('SOURCE_CHANGED', 'is another file now than when it was opened; run it again');
    }
    if (status === 200) {
      await response.body?.cancel();
      throw this.#noRanges();
    }
    const bytes = new Uint8Array(/** @type {ArrayBuffer} */ (body));
    if (bytes.length !== end - start) {
      throw this.#error('TRUNCATED', `gave ${bytes.length} bytes instead of ${end - start} at offset ${start}; run it again`, { retryable: true, offset: start });
    }
    return bytes;
  }

  /** The length, where the server does not let pages see Content-Range. */
  async #head() {
    const { response } = await this.#fetch(undefined, 'HEAD', [200]);
    const length = response.headers.get('content-length');
    if (length === null) throw this.#noRanges();
    return length;
  }

  /**
   * Fetches the whole file, once, where the server has no ranges.
   * @param {Response} response
   */
  async #readAll(response) {
    const length = response.headers.get('content-encoding') ? null : response.headers.get('content-length');
    const size = Number(length ?? Infinity);
    const spool = (this.#spool = await spoolFor(size));
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    for (;;) {
      const { done, value } = await orAborted(reader.read(), this.signal).catch((cause) => {
        throw this.#unread(cause, response);
      });
      if (done) break;
      if (this.size + value.length > size) break;
      await spool.write(this.size, value.slice());
      this.size += value.length;
    }
    await reader.cancel().catch(() => {});
    if (length !== null && this.size !== size) {
      throw this.#error('TRUNCATED', `gave ${this.size} bytes instead of ${size}; run it again`, { retryable: true });
    }
  }

  /**
   * Why there is no answer, or not all of it.
   * @param {unknown} cause
   * @param {Response} [response]
   */
  #unread(cause, response) {
    checkAbort(this.signal);
    const what = response ? 'broke off; run it again' : 'cannot be reached, or its server does not let other sites read it (CORS); try again, or use a local copy';
    return this.#error('IO', what, { retryable: true, cause });
  }

  /**
   * An answer, with its body where that is a part: the whole file is for who asks for it.
   * @param {string} [range]
   * @param {string} [method]
   * @param {number[]} [expected]
   * @returns {Promise<{ response: Response, body: ArrayBuffer | undefined }>}
   */
  async #fetch(range, method = 'GET', expected = [200, 206, 416]) {
    const headers = new Headers(this.request.headers);
    if (range) headers.set('range', range);
    for (let tries = 1; ; tries++) {
      checkAbort(this.signal);
      /** @type {WdeltaError} */
      let failed;
      /** @type {Response | undefined} */
      let response;
      try {
        // Node's fetch can miss the signal: it only holds weakly what follows it.
        response = await orAborted(fetch(new Request(this.request.clone(), { method, headers, signal: this.signal })), this.signal);
        const { status } = response;
        if (expected.includes(status)) return { response, body: status === 200 ? undefined : await orAborted(response.arrayBuffer(), this.signal) };
        await response.body?.cancel();
        const why = [401, 403].includes(status) ? 'the server does not let you read it' : `the server answers ${status}`;
        failed = this.#error('IO', `cannot be read: ${why}`, { retryable: status === 429 || status >= 500 });
      } catch (cause) {
        failed = this.#unread(cause, response);
      }
      if (!failed.retryable || tries === TRIES) throw failed;
      await orAborted(new Promise((resolve) => setTimeout(resolve, PAUSE * 2 ** (tries - 1))), this.signal);
    }
  }

  #noRanges() {
    return this.#error('NO_RANGES', 'cannot be read in parts, since its server does not answer range requests; pass allowFullRead: true to fetch it whole, or use a local copy');
  }

  /**
   * @param {'IO' | 'NO_RANGES' | 'SOURCE_CHANGED' | 'TRUNCATED'} code
   * @param {string} what
   * @param {import('./types.js').ErrorDetails} [details]
   */
  #error(code, what, details) {
    return new WdeltaError(code, `${this.name} ${what}`, { source: this.name, ...details });
  }
}

/** Size of the whole file, as the server says it with a part. @param {Response} response */
const totalOf = ({ headers }) => /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1];

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
