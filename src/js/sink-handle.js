// @ts-check
// File and folder handles as places for results, in the origin-private file system or outside.
/** @import { Target } from './sink-spool.js' */
import { usage } from './errors.js';
import { fromStream } from './sink-spool.js';
import { privateRoot } from './spool.js';

/**
 * Moves a spool's file to its place, if both are in the origin-private file system.
 * @param {any} spool
 * @param {FileSystemDirectoryHandle} folder
 * @param {string} name
 */
async function move(spool, folder, name) {
  if (!spool.handle?.move) return false;
  await spool.seal();
  // Not every browser moves onto an existing file.
  await folder.removeEntry(name).catch(() => {});
  await spool.handle.move(folder, name);
  return true;
}

/**
 * The folder that holds a handle, if it is in the origin-private file system.
 * @param {FileSystemHandle} handle
 */
async function privateParent(handle) {
  const root = await privateRoot();
  const path = await root?.resolve(handle).catch(() => null);
  let folder = path ? root : undefined;
  for (const part of path?.slice(0, -1) ?? []) folder = await folder?.getDirectoryHandle(part);
  return folder;
}

/**
 * @param {FileSystemFileHandle} handle
 * @returns {Target}
 */
export function fileTarget(handle) {
  let fresh = false;
  return {
    async check() {
      // A picker makes an empty file before there is anything to write.
      fresh = (await handle.getFile()).size === 0;
    },
    open: async () => fromStream((await handle.createWritable()).getWriter()),
    async adopt(_, spool) {
      const folder = await privateParent(handle);
      return folder ? move(spool, folder, handle.name) : false;
    },
    async undo() {
      if (!fresh) return;
      const folder = await privateParent(handle);
      await (folder ? folder.removeEntry(handle.name) : /** @type {any} */ (handle).remove?.());
    },
  };
}

/**
 * @param {FileSystemDirectoryHandle} root
 * @param {boolean} force
 * @param {string} fallback
 * @returns {Target}
 */
export function folderTarget(root, force, fallback) {
  /** @type {(() => Promise<void>)[]} */
  const made = [];

  /**
   * @param {string} path
   * @param {boolean} create
   */
  async function place(path, create) {
    const parts = (path || fallback).split('/');
    let folder = root;
    for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part, { create });
    return { folder, name: parts[parts.length - 1] };
  }

  /** @param {string} path */
  async function exists(path) {
    const found = place(path, false).then(({ folder, name }) => folder.getFileHandle(name));
    return found.catch((error) => {
      if (error.name !== 'NotFoundError') throw error;
    });
  }

  /** @param {string} path */
  async function claim(path) {
    const fresh = !(await exists(path));
    const { folder, name } = await place(path, true);
    if (fresh) made.push(() => folder.removeEntry(name));
    return { folder, name };
  }

  return {
    folder: true,
    async check(files) {
      if (force) return;
      for (const { path } of files) {
        if (await exists(path)) throw usage(`${path || fallback} exists already; choose another place`);
      }
    },
    async open(path) {
      const { folder, name } = await claim(path);
      const handle = await folder.getFileHandle(name, { create: true });
      return fromStream((await handle.createWritable()).getWriter());
    },
    async adopt(path, spool) {
      if (!(await privateParent(root))) return false;
      const { folder, name } = await claim(path);
      return move(spool, folder, name);
    },
    async undo() {
      for (const remove of made) await remove().catch(() => {});
    },
  };
}
