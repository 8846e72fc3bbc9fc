// @ts-check
// The compiled core: loading it once per thread, and calling it so that a panic does no further harm.
/** @import { Hasher, Machine } from './types.js' */
/** Where the core comes from. @typedef {string | URL | Request | BufferSource | WebAssembly.Module} Origin */
import * as glue from './wdelta.js';
import { held } from './buffers.js';
import { WdeltaError } from './errors.js';

/**
 * How the core is fetched and which hasher stands in for its own, as Node has better ways than a browser; and the core
 * that workers encode with, where the one of this thread only reads.
 * @type {{ compile(url: string | URL | Request): Promise<WebAssembly.Module>, hasher?(): Hasher, encoder?: Origin }}
 */
export const engine = {
  async compile(url) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return response.headers.get('content-type') === 'application/wasm'
      ? WebAssembly.compileStreaming(response)
      : WebAssembly.compile(await response.arrayBuffer());
  },
};

/** The core of this thread, and that of workers that encode. @type {Promise<WebAssembly.Module> | undefined} */
let loaded, encoder;
/** Counts instances of the core: machines of an earlier one must not be touched. */
let generation = 0;

/**
 * Compiles and starts the core, once.
 * @param {Origin} [module]
 * @returns {Promise<WebAssembly.Module>} for workers
 */
export function load(module) {
  if (!loaded) {
    loaded = compile(module, glue.initSync);
    loaded.catch(() => (loaded = undefined));
  }
  return loaded;
}

/**
 * Compiles the core that encodes, once.
 * @returns {Promise<WebAssembly.Module>} for workers
 */
export function loadEncoder() {
  encoder ??= compile(engine.encoder);
  encoder.catch(() => (encoder = undefined));
  return encoder;
}

/**
 * @param {Origin} [origin]
 * @param {(start: { module: WebAssembly.Module }) => unknown} [start] fails where it is another module than the one that the glue belongs to
 */
async function compile(origin = new URL('./wdelta_bg.wasm', import.meta.url), start) {
  try {
    const module =
      origin instanceof WebAssembly.Module
        ? origin
        : await (origin instanceof ArrayBuffer || ArrayBuffer.isView(origin) ? WebAssembly.compile(origin) : engine.compile(origin));
    start?.({ module });
    return module;
  } catch (/** @type {any} */ cause) {
    const { url, href = url } = /** @type {any} */ (origin);
    const what = href ?? (typeof origin === 'string' ? origin : 'what was given');
    throw new WdeltaError('IO', `the core cannot be loaded from ${what} (${cause.message}); name it with init({ module })`, { cause });
  }
}

/**
 * One call into the core. What the core throws on purpose passes; a panic becomes `INTERNAL`, and a new instance is
 * made, since the old one may have left anything behind.
 * @template T
 * @param {() => T} action
 * @returns {T}
 */
function call(action) {
  try {
    return action();
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    generation++;
    glue.__wbg_reset_state();
    throw new WdeltaError('INTERNAL', `wdelta failed inside: ${cause.message}; please report this`, { cause });
  }
}

/**
 * A machine that is safe to use and to free after a panic in any other.
 * @param {(Machine: any) => any} make
 * @returns {Machine}
 */
export function machine(make) {
  const inner = call(() => make(glue.Machine));
  const born = generation;
  /** @template T @param {() => T} action */
  const alive = (action) => {
    if (born !== generation) throw new WdeltaError('INTERNAL', 'another call broke the core; run this one again', { retryable: true });
    return call(action);
  };
  return {
    step: () => alive(() => inner.step()),
    putDigest: (digest) => alive(() => inner.putDigest(digest)),
    putReports: (reports) => alive(() => inner.putReports(reports)),
    putSize: (source, size) => alive(() => inner.putSize(source, size)),
    free: () => {
      if (born === generation) call(() => inner.free());
    },
  };
}

/**
 * Memory of the core. Only valid until the next call into it, since memory may grow.
 * @param {number} at
 * @param {number} len
 */
export const view = (at, len) => new Uint8Array(/** @type {WebAssembly.Memory} */ (glue.wasmMemory()).buffer, at, len);

/** Bytes of the core's memory in this thread, and of buffers. */
export const memory = () => view(0, 0).buffer.byteLength + held();

/** @returns {Hasher} */
export const hasher = () => engine.hasher?.() ?? call(() => new glue.Sha256());

export const version = () => call(glue.version);

/** @returns {{ code: import('./types.js').ErrorCode, meaning: string }[]} */
export const errorCodes = () => call(glue.errorCodes);
