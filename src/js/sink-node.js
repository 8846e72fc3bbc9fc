// @ts-check
// Files of the disk as results: written under another name in the same folder, synced, renamed at the end.
/** @import { Output, OutputFile, Sink, Spool } from './types.js' */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { mkdir, open, readlink, rm, rmdir } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { changed, failed, fileError, orAborted, usage } from './errors.js';
import { attempt } from './host.js';
import { isSource, look, toPath } from './source-node.js';
import { memorySpool } from './spool.js';

/** Up to this size a result is kept in memory until it is verified, in bytes. */
const SMALL = 16e6;

/** From this size on a result goes to the disk while it is made, in bytes; and the pause between two syncs, in ms. */
const SYNC_FROM = 64e6;
const SYNC_PAUSE = 100;

/** Files that must not outlive the process. @type {Set<string>} */
const unfinished = new Set();
process.on('exit', () => unfinished.forEach((path) => rmSync(path, { force: true })));

/**
 * @param {string} path
 * @param {number} [mode] who may read it
 * @returns {Promise<Spool & { handle: import('node:fs/promises').FileHandle }>}
 */
async function create(path, mode) {
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
async function remove(path) {
  await rm(path, { force: true });
  unfinished.delete(path);
}

/**
 * Room for a result until it is verified, and for what can only be fetched whole.
 * @param {number} size in bytes; Infinity when it is not known
 * @returns {Promise<Spool>}
 */
export async function nodeSpool(size) {
  if (size <= SMALL) return memorySpool(size);
  const path = join(tmpdir(), `wdelta-${randomUUID()}.tmp`);
  const spool = await create(path, 0o600);
  return {
    ...spool,
    async close() {
      await spool.close();
      await remove(path);
    },
  };
}

/**
 * Where a path leads: a link is not replaced, but what it points to.
 * @param {string} path
 * @returns {Promise<string>}
 */
async function target(path) {
  for (let hops = 0; hops < 40; hops++) {
    const to = await readlink(path).catch(() => undefined);
    if (to === undefined) break;
    path = resolve(dirname(path), to);
  }
  return path;
}

/**
 * @param {string | URL} output a file; or a folder, if it is one, ends with `/`, or there are several files
 * @param {boolean} force
 * @param {string} fallback
 * @returns {Sink}
 */
export function pathSink(output, force, fallback) {
  const given = toPath(output);
  const root = resolve(given);
  /** @type {(Output & { path: string, handle: import('node:fs/promises').FileHandle, temporary: string })[]} */
  const outputs = [];
  /** Files at their final place that were not there before. @type {string[]} */
  const placed = [];
  /** How many syncs hold a file. */
  let syncing = 0;
  let ended = false;
  /** The topmost folder that had to be made, and the lowest, for each. @type {[string, string][]} */
  const folders = [];

  /**
   * Final paths of the outputs; throws where something is in the way.
   * @param {OutputFile[]} files
   */
  async function places(files) {
    const there = await look(root, 'written');
    const folder = /[/\\]$/.test(given) || files.length > 1 || there?.isDirectory();
    if (folder && (there ? !there.isDirectory() : /\.(safetensors|wdelta)$/i.test(given))) {
      throw usage(`${given} is ${there ? '' : 'named like '}a file, and the result has ${files.length} files: give a folder`);
    }
    const paths = files.map(({ path }) => (folder ? join(root, path || fallback) : root));
    for (const path of paths) {
      const old = await look(path, 'written');
      if (old && !old.isFile()) throw usage(`${path} is not a regular file; choose another output`);
      if (old && isSource(old)) throw usage(`${path} is an input; choose another output`);
      if (old && !force) throw usage(`${path} exists already; choose another output, or pass force: true`);
    }
    return paths;
  }

  /** @param {string} folder */
  async function makeFolder(folder) {
    const first = await mkdir(folder, { recursive: true }).catch(failed(folder, 'written'));
    if (first) folders.push([first, folder]);
  }

  /** What a sync did not manage; the system tells it once. @type {unknown} */
  let unsynced;

  /** Has what is written so far go to the disk while the rest is made: then little is left to wait for at the end. */
  async function syncAlong() {
    while (!ended) {
      for (const { handle, name } of outputs.filter((one) => one.size >= SYNC_FROM)) {
        if (ended) return;
        syncing++;
        await handle.datasync().catch((cause) => (unsynced ??= fileError(cause, name, 'written')));
        syncing--;
      }
      await new Promise((resolve) => setTimeout(resolve, SYNC_PAUSE).unref());
    }
  }

  return {
    copies: false,
    async check(files) {
      await places(files);
    },

    async create(files) {
      const paths = await places(files);
      for (const [i, { size }] of files.entries()) {
        const path = await target(paths[i]);
        await makeFolder(dirname(path));
        const temporary = join(dirname(path), `.wdelta-${randomUUID()}.tmp`);
        const spool = await create(temporary);
        const resize = (/** @type {number} */ length) => spool.handle.truncate(length).catch(failed(paths[i], 'written'));
        outputs.push({ ...spool, resize, path, size, name: paths[i], temporary });
        await spool.handle.truncate(size).catch(failed(paths[i], 'written'));
      }
      syncAlong();
      return outputs;
    },

    async commit(signal) {
      ended = true;
      for (const { handle, name } of outputs) {
        syncing++;
        await orAborted(handle.sync(), signal).catch(failed(name, 'written'));
        syncing--;
      }
      if (unsynced) throw unsynced;
      await Promise.all(outputs.map((one) => one.close()));
      for (const { path, name, temporary } of outputs) {
        // At once, so that no other job of this process comes between.
        const old = existsSync(path);
        if (old && !force) throw usage(`${name} was made by somebody else meanwhile; choose another output, or pass force: true`);
        await attempt(() => renameSync(temporary, path)).catch(failed(name, 'written'));
        unfinished.delete(temporary);
        if (!old) placed.push(path);
      }
      for (const folder of new Set(outputs.map(({ path }) => dirname(path)))) await syncFolder(folder);
      return { outputs: outputs.map(({ name }) => name) };
    },

    async abort() {
      ended = true;
      const closed = Promise.allSettled(outputs.map((one) => one.close()));
      if (!syncing) await closed;
      await Promise.all([...outputs.map(({ temporary }) => remove(temporary)), ...placed.map(remove)]);
      for (const [first, last] of folders.reverse()) {
        for (let folder = last; folder.length >= first.length; folder = dirname(folder)) {
          if (!(await rmdir(folder).then(() => true, () => false))) break;
        }
      }
    },
  };
}

/**
 * Makes renames last. Not every system can open a folder; then there is nothing to sync.
 * @param {string} path
 */
async function syncFolder(path) {
  const folder = await open(path, 'r').catch(() => undefined);
  await folder?.sync().catch(() => {});
  await folder?.close();
}
