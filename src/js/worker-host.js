// @ts-check
// What a machine runs against in a worker: files that it reaches itself, and questions to the main thread about all others.
/** @import { Channel } from './channel.js' */
/** @import { HostQuestion, JobQuestion, WorkerQuestion } from './protocol.js' */
/** @import { Host, Transfer } from './types.js' */
import { readBlob } from './blob.js';
import { BLOCK, Blocks } from './blocks.js';
import { give, take } from './buffers.js';
import { hasher, memory, view } from './core.js';
import { bytesOf } from './drive.js';
import { failed, fileError } from './errors.js';

/** Most bytes on their way to the main thread that it has not written yet. */
const MAX_UNWRITTEN = 4 << 20;
/** Shortest time between two words about progress, in ms. */
const TELL = 50;

/** What a worker knows of its job, and what lies around small reads of its sources. @typedef {JobQuestion & { blocks: Blocks[] }} JobStart */

/**
 * What Node can do in a worker and a browser cannot: read and write files by descriptor, at once.
 * @typedef {object} Files
 * @property {(fd: number, offset: number, into: Uint8Array) => void} read
 * @property {(fd: number, offset: number, bytes: Uint8Array) => void} write
 */

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
 * @param {JobStart} job
 * @param {Channel<HostQuestion, WorkerQuestion>} channel
 * @param {Files} [files]
 * @returns {{ host: Host, settle: () => Promise<void> }} `settle` waits for everything that is written
 */
export function workerHost(job, channel, files) {
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
