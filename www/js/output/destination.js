// @ts-check
// Where a result goes: a file or folder that the user picks, the browser's private storage and a download, or memory.

import { bytes, fileName } from '../format.js';
import { openPrivate, stores } from './private.js';

/** @import { Destination } from '../types.js' */

/** Bytes up to which a result may stay in memory; above, a place on disk is needed. */
export const MEMORY_LIMIT = 256e6;

/** @typedef {Window & { showSaveFilePicker?: Function, showDirectoryPicker?: Function }} Pickers */
const pickers = () => /** @type {Pickers} */ (/** @type {unknown} */ (window));

/**
 * The ways out, best first, as this browser has them.
 * @param {number} size bytes of the result
 * @param {boolean} folder whether the result is several files
 * @returns {Destination[]}
 */
export function destinations(size, folder) {
  const picker = folder ? 'showDirectoryPicker' in window : 'showSaveFilePicker' in window;
  const each = (/** @type {string} */ text, /** @type {string} */ after) => `${text}${size ? `: ${bytes(size)} ${after}` : ''}.`;
  const missing = isSecureContext ? 'Not in this browser or window.' : 'Needs https or localhost.';
  return [
    {
      id: 'picker',
      label: folder ? 'A folder on this machine' : 'A file on this machine',
      note: picker
        ? each('You choose it at the start. The browser first writes a copy beside it', 'on that disk')
        : missing,
      available: picker,
    },
    {
      id: 'private',
      label: 'Private storage, then download',
      note: stores
        ? each("Written to the browser's own storage, then copied by the download", 'twice')
        : missing,
      available: stores,
    },
    {
      id: 'memory',
      label: 'Memory, then download',
      note:
        size <= MEMORY_LIMIT && !folder
          ? 'Held by this tab only.'
          : folder
            ? 'For single files only.'
            : `Up to ${bytes(MEMORY_LIMIT)} only.`,
      available: size <= MEMORY_LIMIT && !folder,
    },
  ];
}

/**
 * An opened way out.
 * @typedef {{
 *   output: FileSystemFileHandle | FileSystemDirectoryHandle | undefined,
 *   where: string,
 *   copy?: string,
 *   blobs(result: { data?: Uint8Array, files?: { path: string, size: number }[] }): Promise<{ name: string, size: number, blob?: Blob }[]>,
 *   discard(): Promise<void>,
 * }} Opened `copy` names a private copy; `blobs` gives what can be downloaded, after success; `discard` leaves nothing, after failure
 */

/**
 * Opens a way out. Must be called from the click that starts the job: pickers need it.
 * @param {Destination['id']} id
 * @param {string} wanted name of the file or folder
 * @param {boolean} folder
 * @returns {Promise<Opened>}
 */
export async function open(id, wanted, folder) {
  const name = fileName(wanted);
  if (id === 'picker') {
    const handle = folder
      ? await pickers().showDirectoryPicker?.({ id: 'wdelta', mode: 'readwrite' })
      : await pickers().showSaveFilePicker?.({ id: 'wdelta', suggestedName: name });
    return {
      output: handle,
      where: folder ? `folder ${handle.name}` : handle.name,
      blobs: async (result) => {
        if (folder) return (result.files ?? []).map(({ path, size }) => ({ name: path, size }));
        const file = await handle.getFile();
        return [{ name: handle.name, size: file.size }];
      },
      discard: async () => {
        // The picker has created the file; an empty one is nobody's.
        if (!folder && (await handle.getFile()).size === 0) await handle.remove?.();
      },
    };
  }
  if (id === 'private') return openPrivate(name, folder);
  return {
    output: undefined,
    where: 'memory',
    blobs: async ({ data }) => {
      const blob = new Blob(data ? [/** @type {Uint8Array<ArrayBuffer>} */ (data)] : []);
      return [{ name, size: blob.size, blob }];
    },
    discard: async () => {},
  };
}

/**
 * A normal download.
 * @param {Blob} blob @param {string} name
 */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = fileName(name);
  link.click();
  // The browser takes its own hold of the blob when the download starts.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
