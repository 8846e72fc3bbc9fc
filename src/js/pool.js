// @ts-check
// Runs a job's tasks on workers that share nothing, the largest first, or in the calling thread.
/** @import { Output, Source, Task } from './types.js' */
/** @import { Progress } from './progress.js' */
import { machine } from './core.js';
import { steps } from './drive.js';
import { orAborted } from './errors.js';
import { localHost, readRange, writeRange } from './host.js';
import { platform } from './platform.js';
import { Seat } from './seat.js';

/** Most workers that are taken unasked. */
const MAX_WORKERS = 8;
/** Work below this many bytes is done before a worker has started. */
const TINY = 8e6;
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
  const workers = job.workers ?? (cost < TINY ? 0 : Math.min(MAX_WORKERS, platform.workers));
  return workers ? runOnSeats(tasks, job, Math.min(workers, tasks.length)) : runHere(tasks, job);
}

/** @param {Job} job */
const sizesOf = ({ sources, outputs }) => Float64Array.from([...sources, ...outputs], ({ size }) => size);

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
  const { sources, outputs, progress, signal } = job;
  const files = [...sources, ...outputs];
  const start = {
    type: 'job',
    sources: sources.length,
    names: files.map(({ name }) => name),
    ports: files.map((file) => file.port?.()),
    sizes: sizesOf(job),
  };
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

  /** What a worker cannot do itself is done here; bytes move both ways without a copy. */
  const answer = async (/** @type {Seat} */ seat, /** @type {any} */ question) => {
    switch (question.type) {
      case 'progress':
        progress.held.set(seat, question.memory);
        return progress.add(question.bytes);
      case 'write': {
        const reply = await writeRange(outputs[question.file], question.offset, question.bytes);
        return { reply, transfer: [reply.buffer] };
      }
      case 'read': {
        const all = question.ranges.map((/** @type {any} */ { file, offset, into }) => readRange(files[file], offset, into));
        const reply = await Promise.all(all);
        return { reply, transfer: reply.map(({ buffer }) => buffer) };
      }
    }
  };

  try {
    while (seats.length < count) {
      const seat = take();
      seat.answer = (question) => answer(seat, question);
      seats.push(seat);
    }
    await orAborted(Promise.all(seats.map(work)), signal);
  } catch (error) {
    await Promise.all(seats.map((seat) => seat.end()));
    throw error;
  }
  seats.forEach(giveBack);
  return reports;
}
