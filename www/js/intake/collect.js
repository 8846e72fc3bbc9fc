// @ts-check
// From what was dropped or picked to a flat list of files with their paths.

/** Files looked at in one dropped folder. */
const MAX_FILES = 20_000;

/** @typedef {{ file: File, path: string, handle?: FileSystemFileHandle }} Picked `path` has `/` between folders; a loose file has none */

/**
 * Files of a drop. The browser empties the transfer after the event, so everything is taken before the first `await`.
 * @param {DataTransfer} transfer
 * @returns {Promise<Picked[]>}
 */
export async function dropped(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === 'file');
  const roots = items.map((item) => ({
    entry: item.webkitGetAsEntry(),
    file: item.getAsFile(),
    handle:
      'getAsFileSystemHandle' in item ? /** @type {any} */ (item).getAsFileSystemHandle().catch(() => null) : null,
  }));
  /** @type {Picked[]} */
  const files = [];
  for (const { entry, file, handle } of roots) {
    if (entry?.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (entry), files);
    else if (file) files.push({ file, path: file.name, handle: (await handle) ?? undefined });
  }
  return files;
}

/** @param {FileSystemDirectoryEntry} folder @param {Picked[]} files */
async function walk(folder, files) {
  const reader = folder.createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return;
    for (const entry of batch) {
      if (files.length >= MAX_FILES) return;
      if (entry.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (entry), files);
      else {
        /** @type {File} */
        const file = await new Promise((resolve, reject) =>
          /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject),
        );
        files.push({ file, path: entry.fullPath.replace(/^\//, '') });
      }
    }
  }
}

/**
 * Files of an `<input type=file>`.
 * @param {FileList} list
 * @returns {Picked[]}
 */
export const picked = (list) => Array.from(list, (file) => ({ file, path: file.webkitRelativePath || file.name }));

/** Paths in order, and numbers in them as numbers. */
export const inOrder = new Intl.Collator('en', { numeric: true }).compare;

const SHARD = /^(.*?)[-_.]?\d{5}-of-\d{5}\.safetensors$/;

/**
 * Which files belong to one model: the files of a folder, or loose shards of one numbering.
 * @param {Picked} picked of a safetensors file
 * @returns {string} equal for files of one model
 */
export function modelKey({ path }) {
  const slash = path.lastIndexOf('/');
  if (slash >= 0) return path.slice(0, slash + 1);
  const shard = SHARD.exec(path);
  return shard ? `shards ${shard[1]}` : `file ${path}`;
}

/** @param {Picked[]} files of one model */
export function modelName(files) {
  const [{ path }] = files;
  const parts = path.split('/');
  if (parts.length === 1) return SHARD.exec(path)?.[1] || path;
  const folder = parts[parts.length - 2];
  // The Hugging Face cache keeps a model under its commit; the name stands further up.
  const cached = parts.find((part) => part.startsWith('models--'));
  return cached
    ? cached.slice(8).replaceAll('--', '/')
    : files.length > 1 || /^model\.safetensors$/.test(parts[parts.length - 1])
      ? folder
      : parts[parts.length - 1];
}
