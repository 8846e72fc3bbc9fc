// @ts-check
// Results in the browser's private storage (OPFS): one folder per job, held by a lock as long as its tab lives.

/** @import { Opened } from './destination.js' */

/** Folder of all jobs, and the prefix of their locks. */
const FOLDER = 'wdelta-results';

/** @typedef {{ name: string, files: { name: string, size: number }[], size: number }} Copy */

/** @param {boolean} [create] */
async function folder(create = true) {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create });
}

/** @param {FileSystemDirectoryHandle} handle @returns {AsyncIterable<FileSystemDirectoryHandle | FileSystemFileHandle>} */
const children = (handle) => /** @type {any} */ (handle).values();

/** Releases of the locks that this tab holds, by folder. @type {Map<string, () => void>} */
const held = new Map();

/** @param {string} name of a job's folder @returns {Promise<void>} resolved when the lock is held */
const hold = (name) =>
  new Promise((ready) => {
    if (!navigator.locks) return ready();
    void navigator.locks.request(`${FOLDER}/${name}`, () => {
      ready();
      return new Promise((release) => held.set(name, () => release(undefined)));
    });
  });

/**
 * @param {string} name of the file to write, or a name for the folder
 * @param {boolean} many whether the job writes several files
 * @returns {Promise<Opened>}
 */
export async function openPrivate(name, many) {
  const job = `${Date.now().toString(36)}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  await hold(job);
  const place = await (await folder()).getDirectoryHandle(job, { create: true });
  const file = many ? null : await place.getFileHandle(name, { create: true });
  return {
    output: file ?? place,
    where: 'private storage',
    copy: job,
    blobs: async () => {
      const files = [];
      for await (const handle of children(place)) {
        if (handle.kind === 'file') {
          const blob = await handle.getFile();
          files.push({ name: handle.name, size: blob.size, blob });
        }
      }
      return files.sort((a, b) => (a.name < b.name ? -1 : 1));
    },
    discard: () => remove(job),
  };
}

/** @param {string} job */
export async function remove(job) {
  held.get(job)?.();
  held.delete(job);
  await (await folder()).removeEntry(job, { recursive: true }).catch((error) => {
    if (error.name !== 'NotFoundError') throw error;
  });
}

/** Removes what the package was writing when a tab was closed; what other tabs are writing now cannot be removed. */
export async function sweep() {
  const root = await navigator.storage?.getDirectory?.();
  const unfinished = await root?.getDirectoryHandle('wdelta-tmp').catch(() => null);
  if (!unfinished) return;
  // The package holds this lock while it makes such a file.
  await navigator.locks?.request('wdelta-tmp', async () => {
    const old = [];
    for await (const { name } of children(unfinished)) old.push(name);
    await Promise.all(old.map((name) => unfinished.removeEntry(name).catch(() => {})));
  });
}

/** @returns {Promise<Copy[]>} copies of tabs that are closed by now */
export async function copies() {
  if (!navigator.storage?.getDirectory) return [];
  const busy = new Set((await navigator.locks?.query())?.held?.map(({ name }) => name) ?? []);
  /** @type {Copy[]} */
  const found = [];
  const all = await folder(false).catch(() => null);
  if (!all) return [];
  for await (const handle of children(all)) {
    if (handle.kind !== 'directory' || busy.has(`${FOLDER}/${handle.name}`) || held.has(handle.name)) continue;
    const files = [];
    for await (const file of children(/** @type {FileSystemDirectoryHandle} */ (handle))) {
      if (file.kind === 'file') files.push({ name: file.name, size: (await file.getFile()).size });
    }
    found.push({ name: handle.name, files, size: files.reduce((sum, { size }) => sum + size, 0) });
  }
  return found;
}

/** @param {string} job @param {string} name @returns {Promise<File>} */
export async function fetchCopy(job, name) {
  const place = await (await folder()).getDirectoryHandle(job);
  return (await place.getFileHandle(name)).getFile();
}

/** @returns {Promise<number | null>} bytes that the browser still grants this site, where it says so */
export async function room() {
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
  return quota === undefined ? null : quota - (usage ?? 0);
}
