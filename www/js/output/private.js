// @ts-check
// Results in the browser's private storage (OPFS): one folder per job, held by a lock as long as its tab lives.

/** @import { Opened } from './destination.js' */

/** Folder of all jobs, and the prefix of their locks. */
const FOLDER = 'wdelta-results';
/** The empty file that lies in a job's folder until its result is complete and checked. */
const PART = '.part';

/** @typedef {{ name: string, files: { name: string, size: number }[], size: number }} Copy */

/** The private storage, where there is one: some browsers have the call and refuse it in private windows. */
export const storage = navigator.storage?.getDirectory?.().catch(() => undefined);

/** Whether there is one, once the page is ready. */
export let stores = false;
void storage?.then((root) => (stores = Boolean(root)));

const folder = async () => /** @type {FileSystemDirectoryHandle} */ (await storage).getDirectoryHandle(FOLDER, { create: true });

/** @param {FileSystemDirectoryHandle} handle @returns {AsyncIterable<FileSystemDirectoryHandle | FileSystemFileHandle>} */
const children = (handle) => /** @type {any} */ (handle).values();

/** Releases of the locks that this tab holds, by folder. @type {Map<string, () => void>} */
const held = new Map();

/** @param {string} name of a job's folder @returns {Promise<void>} resolved when the lock is held */
const hold = (name) =>
  new Promise((ready) => {
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
  const job = crypto.randomUUID();
  await hold(job);
  const place = await (await folder()).getDirectoryHandle(job, { create: true });
  await place.getFileHandle(PART, { create: true });
  const file = many ? null : await place.getFileHandle(name, { create: true });
  return {
    output: file ?? place,
    where: 'private storage',
    copy: job,
    blobs: async () => {
      await place.removeEntry(PART);
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
  await (await folder()).removeEntry(job, { recursive: true }).catch((error) => {
    if (error.name !== 'NotFoundError') throw error;
  });
  // Only now, or another tab would take it for one that was left.
  held.get(job)?.();
  held.delete(job);
}

/** Removes what the package was writing when a tab was closed; what other tabs are writing now cannot be removed. */
export async function sweep() {
  const unfinished = await (await storage)?.getDirectoryHandle('wdelta-tmp').catch(() => null);
  if (!unfinished) return;
  // The package holds this lock while it makes such a file.
  await navigator.locks.request('wdelta-tmp', async () => {
    const old = [];
    for await (const { name } of children(unfinished)) old.push(name);
    await Promise.all(old.map((name) => unfinished.removeEntry(name).catch(() => {})));
  });
}

/** @returns {Promise<Copy[]>} results of tabs that are closed by now; what such a tab left unfinished is removed */
export async function copies() {
  /** @type {Copy[]} */
  const found = [];
  const all = await (await storage)?.getDirectoryHandle(FOLDER).catch(() => null);
  if (!all) return found;
  for await (const place of children(all)) {
    const { name } = place;
    const look = async (/** @type {Lock | null} */ free) => {
      // A tab has it, this one or another.
      if (!free || place.kind === 'file') return;
      const files = [];
      for await (const file of children(place)) if (file.kind === 'file') files.push({ name: file.name, size: (await file.getFile()).size });
      const size = files.reduce((sum, each) => sum + each.size, 0);
      // Before there were marks, a file was empty until it was complete.
      if (size && files.every((each) => each.name !== PART)) found.push({ name, files, size });
      else await remove(name);
    };
    await navigator.locks.request(`${FOLDER}/${name}`, { ifAvailable: true }, look);
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
