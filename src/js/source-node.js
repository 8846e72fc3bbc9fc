// @ts-check
// Files and folders of the disk.
/** @import { Source } from './types.js' */
import { open, readFile, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { changed, failed, fileError, usage } from './errors.js';
import { MAX_DEPTH, MAX_FILES, tooManyFiles } from './source-object.js';

/** @param {string | URL} path */
export const toPath = (path) => {
  if (!(path instanceof URL) && !/^(file:|[a-z][\w+.-]+:\/\/)/i.test(path)) return path;
  try {
    return fileURLToPath(path);
  } catch (/** @type {any} */ error) {
    throw usage(`${path} is not the URL of a file: ${error.message}`);
  }
};

/**
 * A file, or the files of a folder; links are followed, as in folders of the Hugging Face cache.
 * @param {string | URL} given
 * @returns {Promise<Source[]>}
 */
export async function openPath(given) {
  const path = toPath(given);
  if (!path) throw usage('a path is empty; name a file or a folder');
  const found = await stat(path, { bigint: true }).catch(failed(path));
  if (found.isFile()) return [fileSource(path, basename(path), found)];
  if (!found.isDirectory()) throw usage(`${path} is neither a file nor a folder; write the stream to a file first`);
  return walk((await snapshot(path)) ?? path, '', MAX_DEPTH, []);
}

/**
 * What a path leads to; nothing, if there is nothing.
 * @param {string} path
 * @param {'read' | 'written'} [done]
 * @returns {Promise<import('node:fs').BigIntStats | undefined>}
 */
export const look = (path, done) =>
  stat(path, { bigint: true }).catch((cause) => {
    if (cause.code === 'ENOENT') return undefined;
    throw fileError(cause, path, done);
  });

/**
 * The model's folder inside a repository of the Hugging Face cache: what `main` stands for, or the only one.
 * @param {string} path
 */
async function snapshot(path) {
  const names = await readdir(join(path, 'snapshots')).catch(() => []);
  const main = await readFile(join(path, 'refs', 'main'), 'utf8').catch(() => '');
  const name = names.find((one) => one === main.trim()) ?? names[0];
  if (!name) return undefined;
  if (names.length > 1 && name !== main.trim()) throw usage(`${path} holds several snapshots; give one of its folders under snapshots/`);
  return join(path, 'snapshots', name);
}

/**
 * @param {string} folder
 * @param {string} prefix
 * @param {number} depth
 * @param {Source[]} sources
 */
async function walk(folder, prefix, depth, sources) {
  const names = await readdir(folder).catch(failed(folder));
  for (const name of names.sort()) {
    if (name.startsWith('.')) continue;
    const path = join(folder, name);
    // A dangling link matters only if the model needs it, and then the core misses the file by name.
    const found = await look(path);
    if (found?.isFile()) sources.push(fileSource(path, prefix + name, found));
    else if (found?.isDirectory() && depth > 1) await walk(path, `${prefix}${name}/`, depth - 1, sources);
    if (sources.length > MAX_FILES) throw tooManyFiles(folder);
  }
  return sources;
}

/** Files that jobs of this process have open, as tests for them. @type {Set<(file: import('node:fs').BigIntStats) => boolean>} */
const inUse = new Set();

/** Whether a job reads this file. @param {import('node:fs').BigIntStats} file */
export const isSource = (file) => [...inUse].some((same) => same(file));

/**
 * A file that is opened when it is first read.
 * @param {string} name
 * @param {string} path
 * @param {import('node:fs').BigIntStats} before
 * @returns {Source}
 */
function fileSource(name, path, before) {
  /** @type {Promise<import('node:fs/promises').FileHandle> | undefined} */
  let opening;
  let fd = -1;
  const same = (/** @type {import('node:fs').BigIntStats | undefined} */ now) =>
    now?.size === before.size && now.mtimeNs === before.mtimeNs && now.ino === before.ino && now.dev === before.dev;
  const handle = () =>
    (opening ??= open(name, 'r').then(async (opened) => {
      if (!same(await opened.stat({ bigint: true }))) {
        await opened.close();
        throw changed(name);
      }
      fd = opened.fd;
      inUse.add(same);
      return opened;
    }));
  return {
    path,
    name,
    size: Number(before.size),
    port: () => (fd < 0 ? undefined : { fd }),
    async read(offset, into) {
      const file = await handle();
      for (let at = 0; at < into.length; ) {
        const { bytesRead } = await file.read(into, at, into.length - at, offset + at);
        if (!bytesRead) throw changed(name);
        at += bytesRead;
      }
    },
    async check() {
      if (fd >= 0 && !same(await look(name))) throw changed(name);
    },
    async close() {
      const file = await opening?.catch(() => undefined);
      inUse.delete(same);
      await file?.close();
    },
  };
}
