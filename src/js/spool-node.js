// @ts-check
// Files of the disk that must not outlive the process: room for results until they are complete.
/** @import { Spool } from './types.js' */
import { rmSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { changed, fileError } from './errors.js';
import { memorySpool } from './spool.js';

/** Up to this size a result is kept in memory until it is verified, in bytes. */
const SMALL = 16e6;

/** Files to remove when the process ends. @type {Set<string>} */
const unfinished = new Set();
process.on('exit', () => unfinished.forEach((path) => rmSync(path, { force: true })));

/** @typedef {Spool & { handle: import('node:fs/promises').FileHandle }} DiskSpool */

/**
 * Makes a file that is removed when the process ends, unless `keep` is called.
 * @param {string} path
 * @param {number} [mode] who may read it
 * @returns {Promise<DiskSpool>}
 */
export async function diskSpool(path, mode) {
  unfinished.add(path);
  const handle = await open(path, 'wx+', mode).catch((cause) => {
    unfinished.delete(path);
    throw fileError(cause, dirname(path), 'written');
  });
  let closed = false;
  return {
    handle,
    port: () => ({ fd: handle.fd }),
    async write(offset, bytes) {
      for (let at = 0; at < bytes.length; ) {
        at += (await handle.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
      }
    },
    async read(offset, into) {
      for (let at = 0; at < into.length; ) {
        const { bytesRead } = await handle.read(into, at, into.length - at, offset + at);
        if (!bytesRead) throw changed(path);
        at += bytesRead;
      }
    },
    async close() {
      if (!closed) await handle.close();
      closed = true;
    },
  };
}

/** @param {string} path */
export async function remove(path) {
  await rm(path, { force: true });
  unfinished.delete(path);
}

/** A file has been given its name, and stays. @param {string} path */
export const keep = (path) => unfinished.delete(path);

/**
 * Room for a result until it is verified, and for what can only be fetched whole.
 * @param {number} size in bytes; Infinity when it is not known
 * @returns {Promise<Spool>}
 */
export async function nodeSpool(size) {
  if (size <= SMALL) return memorySpool(size);
  const path = join(tmpdir(), `wdelta-${randomUUID()}.tmp`);
  const spool = await diskSpool(path, 0o600);
  return {
    ...spool,
    async close() {
      await spool.close();
      await remove(path);
    },
  };
}
