// @ts-check
// Handles of the last opened files, where the browser can keep them. It asks for permission again before they are read.

/** @import { Picked } from './collect.js' */

/** @typedef {FileSystemFileHandle & { requestPermission?(options: object): Promise<string>, queryPermission?(options: object): Promise<string> }} Handle */

/** @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest<T>} act @returns {Promise<T>} */
function withStore(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('wdelta', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('handles');
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const request = act(opening.result.transaction('handles', mode).objectStore('handles'));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
      request.transaction?.addEventListener('complete', () => opening.result.close());
    };
  });
}

/** @param {Picked[]} files */
export async function remember(files) {
  const handles = files.map(({ handle }) => handle).filter((handle) => handle !== undefined);
  // Where nothing can be kept (private windows), reopening is simply not offered.
  if (handles.length) await withStore('readwrite', (store) => store.put(handles, 'last')).catch(() => {});
}

/** @returns {Promise<Handle[]>} */
export const remembered = () =>
  globalThis.indexedDB
    ? withStore('readonly', (store) => store.get('last')).then(
        (handles) => handles ?? [],
        () => [],
      )
    : Promise.resolve([]);

/** @param {Handle[]} handles @returns {Promise<Picked[]>} those that the user allows again */
export async function reopen(handles) {
  /** @type {Picked[]} */
  const files = [];
  for (const handle of handles) {
    if ((await handle.requestPermission?.({ mode: 'read' })) === 'denied') continue;
    const file = await handle.getFile();
    files.push({ file, path: file.name, handle });
  }
  return files;
}
