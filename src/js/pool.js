// @ts-check
// Runs a job on workers that share nothing: its tasks, the largest first, and what comes before and after them. Or in the
// calling thread.
/** @import { JobRun, Output, Source, Task } from './types.js' */
/** @import { Progress } from './progress.js' */
import { machine } from './core.js';
import { steps } from './drive.js';
import { orAborted } from './errors.js';
import { localHost, readRange, writeRange } from './host.js';
import { platform } from './platform.js';
import { Seat } from './seat.js';

/** Most workers that are taken unasked. */
const MAX_WORKERS = 8;
/** Time after which an unused worker ends, in ms. */
const IDLE = 10_000;

/**
 * @typedef {object} Job
 * @property {Source[]} sources
 * @property {Output[]} outputs
 * @property {Progress} progress
 * @property {AbortSignal} [signal]
 * @property {number} [workers]
 */

/** Unused workers and the timers that end them. @type {Map<Seat, any>} */
const idle = new Map();

/** @returns {Seat} */
function take() {
  for (const [seat, timer] of idle) {
    // Its timer ends it.
    if (seat.channel.broken) continue;
    clearTimeout(timer);
    idle.delete(seat);
    seat.hold(true);
    return seat;
  }
  return new Seat();
}

/** @param {Seat} seat */
function giveBack(seat) {
  seat.answer = () => undefined;
  seat.hold(false);
  const timer = setTimeout(() => {
    idle.delete(seat);
    seat.end();
  }, IDLE);
  /** @type {any} */ (timer).unref?.();
  idle.set(seat, timer);
}

/**
 * Runs tasks in any order. When one fails or the job is aborted, all its workers are stopped before this rejects.
 * @param {Task[]} tasks
 * @param {Job} job
 * @returns {Promise<Uint8Array[]>} their reports, in the order of `tasks`
 */
export async function runTasks(tasks, job) {
  const cost = tasks.reduce((sum, task) => sum + task.cost, 0);
  const workers = job.workers ?? (cost < platform.tiny ? 0 : Math.min(MAX_WORKERS, platform.workers));
  return workers ? runOnSeats(tasks, job, Math.min(workers, tasks.length)) : runHere(tasks, job);
}

/** @param {Job} job */
const sizesOf = ({ sources, outputs }) => Float64Array.from([...sources, ...outputs], ({ size }) => size);

/** What a worker is told about a job. @param {Job} job */
function startOf(job) {
  const files = [...job.sources, ...job.outputs];
  return {
    type: 'job',
    sources: job.sources.length,
    names: files.map(({ name }) => name),
    ports: files.map((file) => file.port?.()),
    sizes: sizesOf(job),
  };
}

/**
 * A worker that works for a job. What it cannot do itself is done here; bytes move both ways without a copy.
 * @param {Job} job
 */
function seatFor({ sources, outputs, progress }) {
  const seat = take();
  seat.answer = async (/** @type {any} */ question) => {
    switch (question.type) {
      case 'progress':
        progress.held.set(seat, question.memory);
        return progress.add(question.bytes);
      case 'write': {
        const reply = await writeRange(outputs[question.file], question.offset, question.bytes);
        return { reply, transfer: [reply.buffer] };
      }
      case 'read': {
        const all = question.ranges.map((/** @type {any} */ { file, offset, into }) =>
          readRange(sources[file] ?? outputs[file - sources.length], offset, into),
        );
        const reply = await Promise.all(all);
        return { reply, transfer: reply.map(({ buffer }) => buffer) };
      }
    }
  };
  return seat;
}

/**
 * A whole job but for its tasks in a worker of its own: headers of large models take long to read.
 * @param {string} kind
 * @param {object} options
 * @param {object[]} list of the sources
 * @param {Job} job
 * @returns {JobRun}
 */
export function leadJob(kind, options, list, job) {
  /** @type {{ sizes?: [number, number][], reports?: Uint8Array[] }} */
  let answers = {};
  return {
    putSize: (source, size) => (answers.sizes ??= []).push([source, size]),
    putReports: (reports) => (answers.reports = reports),
    async *steps() {
      const seat = seatFor(job);
      const others = seat.answer;
      /** @type {Record<string, any[]>} */
      let parts = {};
      seat.answer = (question) => {
        if (question.type !== 'part') return others(question);
        (parts[question.key] ??= []).push(...question.list);
      };
      let asked = true;
      const ask = (/** @type {any} */ question, /** @type {Transferable[]} */ transfer = []) => orAborted(seat.ask(question, transfer), job.signal);
      try {
        await seat.ready;
        await ask(startOf(job));
        await ask({ type: 'lead', kind, options, list });
        for (;;) {
          // There are outputs now.
          if (answers.sizes) await ask(startOf(job));
          const question = { type: 'next', ...answers };
          answers = {};
          const list = await ask(question);
          const last = list[list.length - 1];
          Object.assign(last.value ?? last, parts);
          parts = {};
          asked = false;
          yield* list;
          if (last.kind === 'done') return;
          asked = true;
        }
      } finally {
        if (asked) await seat.end();
        else giveBack(seat);
      }
    },
  };
}

/**
 * @param {Task[]} tasks
 * @param {Job} job
 */
async function runHere(tasks, job) {
  const { sources, outputs, progress, signal } = job;
  const reports = [];
  for (const { label, phase, spec } of tasks) {
    progress.phase(phase, label);
    const task = machine((Machine) => Machine.task(spec, sizesOf(job)));
    for await (const step of steps(task, localHost(sources, outputs, progress, signal))) {
      if (step.kind === 'done') reports.push(step.report);
    }
  }
  return reports;
}

/**
 * @param {Task[]} tasks
 * @param {Job} job
 * @param {number} count
 */
async function runOnSeats(tasks, job, count) {
  const { progress, signal } = job;
  const start = startOf(job);
  const order = tasks.map((_, i) => i).sort((a, b) => tasks[b].cost - tasks[a].cost);
  /** @type {Uint8Array[]} */
  const reports = [];
  /** @type {Seat[]} */
  const seats = [];

  const work = async (/** @type {Seat} */ seat) => {
    await seat.ready;
    await seat.ask(start);
    for (let next = order.shift(); next !== undefined; next = order.shift()) {
      const { label, phase, spec } = tasks[next];
      progress.phase(phase, label);
      reports[next] = await seat.ask({ type: 'task', spec });
      if (progress.failed) throw progress.failed;
    }
  };

  try {
    while (seats.length < count) seats.push(seatFor(job));
    await orAborted(Promise.all(seats.map(work)), signal);
  } catch (error) {
    await Promise.all(seats.map((seat) => seat.end()));
    throw error;
  }
  seats.forEach(giveBack);
  return reports;
}
