// @ts-check
// What runs in a worker: tasks of the core, whole jobs but for these, and files of the origin-private file system that only workers can write to
// at a position. The same in browsers and in Node, which enters through worker-node.js.
/** @import { Host, Machine, Port, Transfer } from './types.js' */
import { readBlob } from './blob.js';
import { Channel } from './channel.js';
import { BLOCK, Blocks } from './blocks.js';
import { give, take } from './buffers.js';
import { hasher, load, machine, memory, view } from './core.js';
import { bytesOf, reportOf, steps, unpack } from './drive.js';
import { failed, fileError } from './errors.js';

/** Most bytes on their way to the main thread that it has not written yet. */
const MAX_UNWRITTEN = 4 << 20;
/** Longest list that is posted at once: unpacking it keeps the other side busy. */
const MAX_LIST = 500;
/** Shortest time between two words about progress, in ms. */
const TELL = 50;

const scope = /** @type {any} */ (globalThis);

/**
 * Bytes that `take` gave into the core's memory.
 * @param {number} at
 * @param {Uint8Array} bytes
 */
function put(at, bytes) {
  view(at, bytes.length).set(bytes);
  give(bytes);
}

/**
 * What a worker is told about a job: its sources, then its outputs.
 * @typedef {object} JobStart
 * @property {number} sources how many of the files are sources
 * @property {string[]} names
 * @property {Port[]} ports
 * @property {Float64Array} sizes
 * @property {Blocks[]} blocks what lies around small reads of sources
 */

/**
 * What Node can do in a worker and a browser cannot: read and write files by descriptor, at once.
 * @typedef {object} Files
 * @property {(fd: number, offset: number, into: Uint8Array) => void} read
 * @property {(fd: number, offset: number, bytes: Uint8Array) => void} write
 */

/**
 * @param {(message: any, transfer?: Transferable[]) => void} post
 * @param {Files} [files]
 * @returns {(message: any) => void} takes the messages of the main thread
 */
export function serve(post, files) {
  /** @type {Promise<unknown>} */
  let ready = Promise.resolve();
  const job = /** @type {JobStart} */ ({});
  /** The machine of a whole job, and its steps. @type {Machine} */
  let led;
  /** @type {ReturnType<typeof steps> | undefined} */
  let leading;
  /** Open files of the origin-private file system. @type {Map<number, any>} */
  const spools = new Map();

  const channel = new Channel(post, async (question) => {
    const { type } = question;
    switch (type) {
      case 'init':
        return (ready = load(question.module)).then(() => {});
      case 'job':
        Object.assign(job, question, { blocks: [] });
        return;
      case 'task': {
        await ready;
        // What a plan opened here would lie beside what the task needs.
        await leading?.return();
        const reply = await reportOf(machine((Machine) => Machine.task(question.spec, job.sizes)), host);
        await settle();
        return { reply, transfer: [reply.buffer] };
      }
      case 'lead':
        await leading?.return();
        led = machine((Machine) => Machine.job(question.kind, question.options, question.list));
        leading = steps(led, host);
        return;
      case 'next':
        return nextStep(question);
      default:
        return onSpool(question).catch(failed('private storage', type === 'read' ? type : 'written'));
    }
  });
  const { host, settle } = hostOf(job, channel, files);

  /** @param {any} question about a file of the origin-private file system */
  async function onSpool({ type, spool, folder, name, offset, bytes, keep }) {
    const file = spools.get(spool);
    switch (type) {
      case 'open': {
        const root = await /** @type {any} */ (navigator).storage.getDirectory();
        const handle = await (await root.getDirectoryHandle(folder)).getFileHandle(name);
        spools.set(spool, await handle.createSyncAccessHandle());
        return;
      }
      case 'close':
        if (keep) await file.flush();
        await file?.close();
        spools.delete(spool);
        return;
    }
    // A full disk shows as fewer bytes written.
    if (file[type](bytes, { at: offset }) < bytes.length) throw new DOMException('it became shorter', type === 'read' ? '' : 'QuotaExceededError');
    return { reply: bytes, transfer: [bytes.buffer] };
  }

  /** @param {{ sizes?: [source: number, size: number][], reports?: Uint8Array[] }} answers of the step before */
  async function nextStep({ sizes = [], reports }) {
    for (const [source, size] of sizes) led.putSize(source, size);
    if (reports) led.putReports(reports);
    const began = performance.now();
    const reply = [];
    let step;
    // Small items come several at a time.
    do {
      const { value } = await /** @type {ReturnType<typeof steps>} */ (leading).next();
      step = /** @type {any} */ (unpack(/** @type {any} */ (value)));
      reply.push(step);
    } while (step.kind === 'item' && !step.data && performance.now() - began < TELL);
    await settle();
    const lists = step.value ?? step;
    for (const [key, list] of Object.entries(lists)) {
      if (!Array.isArray(list) || list.length <= MAX_LIST) continue;
      for (let i = 0; i < list.length; i += MAX_LIST) channel.tell({ type: 'part', key, list: list.slice(i, i + MAX_LIST) });
      lists[key] = [];
    }
    return { reply, transfer: step.data && [step.data.buffer] };
  }

  return (message) => channel.receive(message);
}

/**
 * @param {JobStart} job
 * @param {Channel} channel
 * @param {Files} [files]
 * @returns {{ host: Host, settle: () => Promise<void> }} `settle` waits for everything that is written
 */
function hostOf(job, channel, files) {
  let count = 0;
  let told = performance.now();
  let unwritten = 0;
  /** Writes that the main thread has not answered, or has refused. @type {Set<Promise<void>>} */
  const writes = new Set();

  const tally = (/** @type {Transfer[]} */ transfers) => {
    count += bytesOf(transfers);
    if (performance.now() - told > TELL) tell();
  };
  const tell = () => {
    channel.tell({ type: 'progress', bytes: count, memory: memory() });
    count = 0;
    told = performance.now();
  };

  const blocksOf = (/** @type {number} */ file) =>
    (job.blocks[file] ??= new Blocks(job.sizes[file], async (start, end) => {
      const blob = /** @type {any} */ (job.ports[file])?.blob;
      if (blob) return new Uint8Array(await blob.slice(start, end).arrayBuffer().catch(failed(job.names[file])));
      const [got] = await channel.ask({ type: 'read', ranges: [{ file, offset: start, into: new Uint8Array(end - start) }] });
      return got;
    }));

  const fetchRanges = async (/** @type {Transfer[]} */ transfers) => {
    const ranges = transfers.map(({ file, offset, len }) => ({ file, offset, into: take(len) }));
    const got = await channel.ask({ type: 'read', ranges }, ranges.map(({ into }) => into.buffer));
    transfers.forEach(({ at }, i) => put(at, got[i]));
  };

  /** @type {Host} */
  const host = {
    hasher,
    read(transfers) {
      tally(transfers);
      /** @type {Transfer[]} */
      const far = [];
      /** @type {Promise<void>[]} */
      const near = [];
      for (const transfer of transfers) {
        const { file, offset, len, at } = transfer;
        const port = /** @type {any} */ (job.ports[file]);
        if (port?.fd !== undefined && files) {
          try {
            files.read(port.fd, offset, view(at, len));
          } catch (cause) {
            throw fileError(cause, job.names[file]);
          }
        } else if (len <= BLOCK && file < job.sources) near.push(blocksOf(file).read(offset, len, (part, from) => view(at + from, part.length).set(part)));
        else if (port?.blob) near.push(readBlob(port.blob, offset, len, (bytes) => view(at, len).set(bytes)).catch(failed(job.names[file])));
        else far.push(transfer);
      }
      if (far.length) near.push(fetchRanges(far));
      if (near.length) return Promise.all(near);
    },
    write(transfers) {
      tally(transfers);
      for (const { file, offset, len, at } of transfers) {
        const port = /** @type {any} */ (job.ports[job.sources + file]);
        if (port?.fd !== undefined && files) {
          try {
            files.write(port.fd, offset, view(at, len));
          } catch (cause) {
            throw fileError(cause, job.names[job.sources + file], 'written');
          }
          continue;
        }
        const bytes = take(len);
        bytes.set(view(at, len));
        unwritten += len;
        const writing = channel.ask({ type: 'write', file, offset, bytes }, [bytes.buffer]).then((back) => {
          give(back);
          unwritten -= len;
          writes.delete(writing);
        });
        writing.catch(() => {});
        writes.add(writing);
      }
      if (unwritten > MAX_UNWRITTEN) return room();
    },
  };
  const room = async () => {
    while (unwritten > MAX_UNWRITTEN) await Promise.race(writes);
  };

  return {
    host,
    async settle() {
      await Promise.all(writes);
      if (count) tell();
    },
  };
}

if (scope.WorkerGlobalScope && scope instanceof scope.WorkerGlobalScope) {
  const receive = serve((message, transfer = []) => scope.postMessage(message, transfer));
  // Set before anything is awaited: browsers drop messages that find no handler.
  scope.onmessage = (/** @type {MessageEvent} */ event) => receive(event.data);
}
