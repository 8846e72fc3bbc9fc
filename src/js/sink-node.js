// @ts-check
// Files of the disk as results: written under another name in the same folder, synced, renamed at the end.
/** @import { Output, OutputFile, Sink } from './types.js' */
/** @import { DiskSpool } from './spool-node.js' */
import { existsSync, renameSync } from 'node:fs';
import { mkdir, open, readlink, rmdir } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { failed, fileError, orAborted, usage } from './errors.js';
import { attempt } from './host.js';
import { isSource, look, toPath } from './source-node.js';
import { diskSpool, keep, remove } from './spool-node.js';

/** From this size on a result goes to the disk while it is made, in bytes; and the pause between two syncs, in ms. */
const SYNC_FROM = 64e6;
const SYNC_PAUSE = 100;

/** A result under its temporary name. @typedef {Output & DiskSpool & { path: string, temporary: string }} Unfinished */

/**
 * @param {string | URL} output a file; or a folder, if it is one, ends with `/`, or there are several files
 * @param {boolean} force
 * @param {string} fallback name of a file that has none, when it goes into a folder
 * @returns {Sink}
 */
export const pathSink = (output, force, fallback) => new PathSink(toPath(output), force, fallback);

/** @implements {Sink} */
class PathSink {
  copies = false;
  /** @type {Unfinished[]} */
  #outputs = [];
  /** Files at their final place that were not there before. @type {string[]} */
  #placed = [];
  /** The topmost folder that had to be made, and the lowest, for each. @type {[string, string][]} */
  #folders = [];
  /** How many syncs hold a file. */
  #syncing = 0;
  /** What a sync did not manage; the system tells it once. @type {unknown} */
  #unsynced;
  #ended = false;

  /**
   * @param {string} given
   * @param {boolean} force
   * @param {string} fallback
   */
  constructor(given, force, fallback) {
    this.given = given;
    this.root = resolve(given);
    this.force = force;
    this.fallback = fallback;
  }

  /** @param {OutputFile[]} files */
  async check(files) {
    await this.#places(files);
  }

  /** @param {OutputFile[]} files */
  async create(files) {
    const paths = await this.#places(files);
    for (const [i, { size }] of files.entries()) {
      const path = await target(paths[i]);
      await this.#makeFolder(dirname(path));
      const temporary = join(dirname(path), `.wdelta-${randomUUID()}.tmp`);
      const spool = await diskSpool(temporary);
      const resize = (/** @type {number} */ length) => spool.handle.truncate(length).catch(failed(paths[i], 'written'));
      this.#outputs.push({ ...spool, resize, path, size, name: paths[i], temporary });
      await spool.handle.truncate(size).catch(failed(paths[i], 'written'));
    }
    this.#syncAlong();
    return this.#outputs;
  }

  /** @param {AbortSignal} [signal] */
  async commit(signal) {
    this.#ended = true;
    for (const { handle, name } of this.#outputs) await orAborted(this.#hold(handle.sync()), signal).catch(failed(name, 'written'));
    if (this.#unsynced) throw this.#unsynced;
    await Promise.all(this.#outputs.map((one) => one.close()));
    for (const output of this.#outputs) await this.#rename(output);
    for (const folder of new Set(this.#outputs.map(({ path }) => dirname(path)))) await syncFolder(folder);
    return { outputs: this.#outputs.map(({ name }) => name) };
  }

  async abort() {
    this.#ended = true;
    const closed = Promise.allSettled(this.#outputs.map((one) => one.close()));
    if (!this.#syncing) await closed;
    await Promise.all([...this.#outputs.map(({ temporary }) => temporary), ...this.#placed].map(remove));
    for (const [first, last] of this.#folders.reverse()) {
      for (let folder = last; folder.length >= first.length; folder = dirname(folder)) {
        if (!(await rmdir(folder).then(() => true, () => false))) break;
      }
    }
  }

  /**
   * Final paths of the outputs; throws where something is in the way.
   * @param {OutputFile[]} files
   */
  async #places(files) {
    const { given, root, force } = this;
    const there = await look(root, 'written');
    const folder = /[/\\]$/.test(given) || files.length > 1 || there?.isDirectory();
    if (folder && (there ? !there.isDirectory() : /\.(safetensors|wdelta)$/i.test(given))) {
      throw usage(`${given} is ${there ? '' : 'named like '}a file, and the result has ${files.length} files: give a folder`);
    }
    const paths = files.map(({ path }) => (folder ? join(root, path || this.fallback) : root));
    for (const path of paths) {
      const old = await look(path, 'written');
      if (old && !old.isFile()) throw usage(`${path} is not a regular file; choose another output`);
      if (old && isSource(old)) throw usage(`${path} is an input; choose another output`);
      if (old && !force) throw usage(`${path} exists already; choose another output, or pass force: true`);
    }
    return paths;
  }

  /** @param {string} folder */
  async #makeFolder(folder) {
    const first = await mkdir(folder, { recursive: true }).catch(failed(folder, 'written'));
    if (first) this.#folders.push([first, folder]);
  }

  /** Has what is written so far go to the disk while the rest is made: then little is left to wait for at the end. */
  async #syncAlong() {
    while (!this.#ended) {
      for (const { handle, name } of this.#outputs.filter((one) => one.size >= SYNC_FROM)) {
        if (this.#ended) return;
        await this.#hold(handle.datasync()).catch((cause) => (this.#unsynced ??= fileError(cause, name, 'written')));
      }
      await new Promise((resolve) => setTimeout(resolve, SYNC_PAUSE).unref());
    }
  }

  /** @param {Promise<void>} sync of a file, which cannot be closed before it ends */
  #hold(sync) {
    this.#syncing++;
    return sync.finally(() => this.#syncing--);
  }

  /** @param {Unfinished} output */
  async #rename({ path, name, temporary }) {
    // At once, so that no other job of this process comes between.
    const old = existsSync(path);
    if (old && !this.force) throw usage(`${name} was made by somebody else meanwhile; choose another output, or pass force: true`);
    await attempt(() => renameSync(temporary, path)).catch(failed(name, 'written'));
    keep(temporary);
    if (!old) this.#placed.push(path);
  }
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
 * Makes renames last. Not every system can open a folder; then there is nothing to sync.
 * @param {string} path
 */
async function syncFolder(path) {
  const folder = await open(path, 'r').catch(() => undefined);
  await folder?.sync().catch(() => {});
  await folder?.close();
}
