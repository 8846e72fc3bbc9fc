// @ts-check
// Where results go: memory, file and folder handles, streams, the user's own objects. What cannot be written at a
// position, read back and thrown away again gets the result only when it is finished and verified.
/** @import { Bytes, Output, OutputFile, OutputTarget, Sink, SinkObject, Spool } from './types.js' */
import { WdeltaError, checkAbort, failed, orAborted, usage } from './errors.js';
import { attempt, readRange } from './host.js';
import { platform } from './platform.js';
import { MAX_MEMORY, memorySpool, privateRoot, spoolFor, tooLarge } from './spool.js';

/** Bytes that are handed on at once. */
const CHUNK = 4 << 20;

/**
 * @param {OutputTarget | undefined} output
 * @param {boolean} force
 * @param {string} fallback name of a file that has none, when it goes into a folder
 * @returns {Sink}
 */
export function openSink(output, force, fallback) {
  const target = /** @type {any} */ (output);
  if (output === undefined) return memorySink();
  if (typeof output === 'string' || output instanceof URL) {
    if (!platform.pathSink) throw usage('output is a path, and a browser has none: give a handle, a stream or { write, close }');
    return platform.pathSink(output, force, fallback);
  }
  if (target.kind === 'file') return spoolSink(fileTarget(target));
  if (target.kind === 'directory') return spoolSink(folderTarget(target, force, fallback));
  if (typeof target.getWriter === 'function') {
    if (target.locked) throw usage('output is a locked stream; choose another place');
    return spoolSink({ waits: true, open: async () => fromStream(target.getWriter()) });
  }
  if (typeof target.pipe === 'function') throw usage('output is a Node stream: give its path, or Writable.toWeb(stream)');
  if (typeof target.write === 'function' && typeof target.close === 'function') {
    return spoolSink({ waits: true, open: async () => target });
  }
  throw usage('output must be a path, a handle, a stream or { write, close }');
}

/**
 * Refuses paths that could leave the output folder. They come from index files, which anybody can write.
 * @param {string} path relative, with `/`; empty for the one file that the caller named
 */
export function checkPath(path) {
  const plain = path.split('/').every((part) => !/^\.{0,2}$|[\0-\x1f\\:]/.test(part));
  if (path && !plain) {
    throw new WdeltaError('MALFORMED', `the model names a file ${JSON.stringify(path)}, which is not a plain name inside its folder; correct its index file`);
  }
}

/** @returns {Sink} */
function memorySink() {
  /** @type {(Output & { bytes: Bytes, path: string })[]} */
  let outputs = [];
  return {
    copies: false,
    async check(files) {
      const bytes = files.reduce((sum, { size }) => sum + size, 0);
      if (bytes > MAX_MEMORY) throw tooLarge(bytes);
    },
    async create(files) {
      // Of what is only bounded, what may be kept: memory costs nothing before it is written to.
      outputs = files.map(({ path, size }) => ({ ...memorySpool(Math.min(size, MAX_MEMORY)), path, size, name: path || 'the result' }));
      return outputs;
    },
    async commit() {
      // Cut down where a result turned out shorter than its bound.
      const data = (/** @type {{ size: number, bytes: Bytes }} */ { size, bytes }) => (size < bytes.length ? bytes.slice(0, size) : bytes);
      if (outputs.length === 1) return { data: data(outputs[0]) };
      return { files: outputs.map((one) => ({ path: one.path, size: one.size, data: data(one) })) };
    },
    async abort() {
      outputs = [];
    },
  };
}

/**
 * A place that takes finished files.
 * @typedef {object} Target
 * @property {boolean} [folder] takes several
 * @property {(files: OutputFile[]) => Promise<void>} [check]
 * @property {(path: string) => Promise<SinkObject>} open
 * @property {boolean} [waits] somebody waits at its other end, and must learn of a failure before the first byte too
 * @property {(path: string, spool: any) => Promise<boolean>} [adopt] takes the spool's own file, if that is possible
 * @property {() => Promise<void>} [undo] removes what `open` and `adopt` made
 */

/**
 * @param {Target} target
 * @returns {Sink}
 */
function spoolSink(target) {
  /** @type {(Output & { path: string, spool: Spool })[]} */
  const outputs = [];
  /** @type {{ sink: SinkObject, name: string }[]} */
  const open = [];
  return {
    copies: true,
    async check(files) {
      if (!target.folder && files.length > 1) throw usage(`the result has ${files.length} files, and output takes one: give a folder`);
      await target.check?.(files).catch(failed('the output', 'written'));
    },
    async create(files) {
      for (const { path, size } of files) {
        const spool = await spoolFor(size);
        outputs.push({ ...spool, spool, path, size, name: path || 'the output' });
      }
      return outputs;
    },
    async commit(signal, wrote) {
      for (const output of outputs) {
        const { path, size, spool } = output;
        if (await target.adopt?.(path, spool)) {
          wrote(size);
          continue;
        }
        const sink = await target.open(path).catch(failed(output.name, 'written'));
        open.push({ sink, name: output.name });
        for (let offset = 0; offset < size; offset += CHUNK) {
          checkAbort(signal);
          const bytes = await readRange(output, offset, new Uint8Array(Math.min(CHUNK, size - offset)));
          await orAborted(attempt(() => sink.write(offset, bytes)), signal).catch(failed(output.name, 'written'));
          wrote(bytes.length);
        }
      }
      for (const { sink, name } of open) await attempt(() => sink.close()).catch(failed(name, 'written'));
      await Promise.all(outputs.map(({ spool }) => spool.close()));
      return {};
    },
    async abort(/** @type {any} */ reason) {
      // Where it cannot be opened, nobody waits.
      if (!open.length && target.waits) await target.open('').then((sink) => open.push({ sink, name: '' }), () => {});
      for (const { sink } of open) {
        const told = attempt(() => sink.abort?.(reason)).catch(() => {});
        // Who has stopped taking bytes may not answer this either, and a caller who aborts does not wait for that.
        if (!target.waits || reason?.code !== 'ABORTED') await told;
      }
      await Promise.all(outputs.map(({ spool }) => spool.close()));
      await target.undo?.();
    },
  };
}

/**
 * @param {WritableStreamDefaultWriter} writer
 * @returns {SinkObject}
 */
const fromStream = (writer) => ({
  write: (_, bytes) => writer.write(bytes),
  close: () => writer.close(),
  abort: (reason) => writer.abort(reason),
});

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
function fileTarget(handle) {
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
function folderTarget(root, force, fallback) {
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
