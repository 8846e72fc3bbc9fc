// @ts-check
// What runs in a worker: tasks of the core, whole jobs but for these, and files of the origin-private file system that only workers can write to
// at a position. The same in browsers and in Node, which enters through worker-node.js.
/** @import { HostQuestion, SpoolQuestion, StepAnswers, WorkerQuestion } from './protocol.js' */
/** @import { Machine } from './types.js' */
/** @import { Files, JobStart } from './worker-host.js' */
import { Channel } from './channel.js';
import { load, machine } from './core.js';
import { reportOf, steps, unpack } from './drive.js';
import { failed } from './errors.js';
import { workerHost } from './worker-host.js';

/** Longest list that is posted at once: unpacking it keeps the other side busy. */
const MAX_LIST = 500;
/** Longest time for which small items are gathered, in ms. */
const GATHER = 50;

const scope = /** @type {any} */ (globalThis);

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

  /** @type {Channel<HostQuestion, WorkerQuestion>} */
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
  const { host, settle } = workerHost(job, channel, files);

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

  /** @param {StepAnswers} answers of the step before */
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
    } while (step.kind === 'item' && !step.data && performance.now() - began < GATHER);
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

if (scope.WorkerGlobalScope && scope instanceof scope.WorkerGlobalScope) {
  const receive = serve((message, transfer = []) => scope.postMessage(message, transfer));
  // Set before anything is awaited: browsers drop messages that find no handler.
  scope.onmessage = (/** @type {MessageEvent} */ event) => receive(event.data);
}
