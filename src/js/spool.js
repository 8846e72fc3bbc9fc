// @ts-check
// Room for an output until it is verified: memory for small ones, the origin-private file system for the rest.
/** @import { Bytes, Spool } from './types.js' */
import { give, take } from './buffers.js';
import { WdeltaError } from './errors.js';
import { platform } from './platform.js';
import { Seat } from './seat.js';

/** Most bytes of results that are held in memory. */
export const MAX_MEMORY = 256e6;
/** Up to this size a file would cost more than it saves. */
const SMALL = 16e6;
/** Folder of the spools. What a closed tab left in it is deleted when the next spool is made. */
const FOLDER = 'wdelta-tmp';

/** @param {number} bytes of a result @param {unknown} [cause] */
export const tooLarge = (bytes, cause) =>
  new WdeltaError('LIMIT', `memory takes at most ${MAX_MEMORY / 1e6} MB, and not ${bytes} bytes: give an output`, { cause });

/**
 * @param {number} size the most that it takes
 * @returns {Spool & { bytes: Bytes }}
 */
export function memorySpool(size) {
  let bytes;
  try {
    bytes = new Uint8Array(size);
  } catch (cause) {
    throw tooLarge(size, cause);
  }
  return {
    bytes,
    write(offset, chunk) {
      const end = offset + chunk.length;
      if (end > size) throw tooLarge(end);
      bytes.set(chunk, offset);
    },
    read(offset, into) {
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
}

/**
 * @param {number} size in bytes; Infinity when it is not known
 * @returns {Promise<Spool>}
 */
export const spoolFor = (size) => (platform.spool ?? webSpool)(size);

/** @type {typeof spoolFor} */
async function webSpool(size) {
  // Safari before version 26 has private files that only workers can write to: results must be such files, and be moved.
  if (size <= SMALL && /** @type {any} */ (globalThis).FileSystemFileHandle?.prototype.createWritable) return memorySpool(size);
  const root = await privateRoot();
  // Not every browser that has such files can write to them.
  const spool = root && (await privateSpool(root).catch((cause) => {
    if (size > MAX_MEMORY) throw cause;
  }));
  if (spool) return spool;
  if (size <= MAX_MEMORY) return memorySpool(size);
  throw new WdeltaError(
    'LIMIT',
    `this browser gives no private file system here, and memory takes at most ${MAX_MEMORY / 1e6} MB: ` +
      'open the page over https, or use the command line',
  );
}

/** The origin-private file system; there is none without a secure context. */
export const privateRoot = () => globalThis.navigator?.storage?.getDirectory?.().catch(() => undefined);

/** The worker that holds the open files, and how many there are. @type {{ seat: Seat, open: number } | undefined} */
let writer;
let count = 0;

/**
 * @typedef {object} Private
 * @property {FileSystemFileHandle} handle
 * @property {() => Promise<void>} seal closes the file for good, so that it can be moved
 */

/**
 * A file of the origin-private file system. Only workers can write to it at a position, and only one at a time, so all
 * such files are held by one worker.
 * @param {FileSystemDirectoryHandle} root
 * @returns {Promise<Spool & Private>}
 */
async function privateSpool(root) {
  const spool = ++count;
  const held = (writer ??= { seat: new Seat(), open: 0 });
  const { seat } = held;
  held.open++;
  const leave = () => {
    if (--held.open) return;
    if (writer === held) writer = undefined;
    seat.end();
  };
  try {
    const folder = await root.getDirectoryHandle(FOLDER, { create: true });
    const name = crypto.randomUUID();
    const open = async () => {
      // An open file cannot be removed: what can is left over.
      for await (const old of /** @type {any} */ (folder).keys()) await folder.removeEntry(old).catch(() => {});
      const handle = await folder.getFileHandle(name, { create: true });
      // By name: Safari cannot post a handle.
      await seat.ask({ type: 'open', spool, folder: FOLDER, name });
      return handle;
    };
    // Another tab must not take the new file for a left-over one before it is open.
    const handle = await (navigator.locks?.request(FOLDER, open) ?? open());
    let sealed = false;
    let closed = false;
    const shut = async (/** @type {boolean} */ keep) => {
      if (!sealed) await seat.ask({ type: 'close', spool, keep });
      sealed = true;
    };
    return {
      handle,
      seal: () => shut(true),
      write: (offset, bytes) => seat.ask({ type: 'write', spool, offset, bytes }, [/** @type {ArrayBuffer} */ (bytes.buffer)]),
      async read(offset, into) {
        // Lent bytes cannot be posted.
        const bytes = take(into.length);
        const filled = await seat.ask({ type: 'read', spool, offset, bytes }, [bytes.buffer]);
        into.set(filled);
        give(filled);
      },
      async close() {
        if (closed) return;
        closed = true;
        // The last one ends the worker, with whatever it has still to write: a caller that aborts does not wait for it.
        leave();
        await shut(false).catch(() => {});
        await remove(folder, name);
      },
    };
  } catch (error) {
    leave();
    throw error;
  }
}

/**
 * Removes a file that a worker may have open for a moment longer. If it stays, the next spool removes it.
 * @param {FileSystemDirectoryHandle} folder
 * @param {string} name
 */
async function remove(folder, name) {
  for (let tries = 0; tries < 20; tries++) {
    try {
      return await folder.removeEntry(name);
    } catch (/** @type {any} */ { name: reason }) {
      if (reason === 'NotFoundError') return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
