// @ts-check
// Runs a job on workers that share nothing: its tasks, the largest first, and what comes before and after them. Or in the
// calling thread.
/** @import { JobRun, Output, Source, Task } from './types.js' */
/** @import { Progress } from './progress.js' */
/** @import { JobQuestion, StepAnswers, WorkerQuestion } from './protocol.js' */
import { machine } from './core.js';
import { reportOf } from './drive.js';
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
 * @property {unknown} [encodes] whether it needs the core that workers encode with
 */

/** Unused workers and the timers that end them. @type {Map<Seat, any>} */
const idle = new Map();

/**
 * Unused workers that can be asked. A broken one is ended by its timer.
 * @param {unknown} [encodes] whether they must encode
 */
const free = (encodes) => [...idle.keys()].filter((seat) => !seat.broken && (seat.encodes || !encodes));

/**
 * @param {unknown} [encodes]
 * @returns {Seat}
 */
function take(encodes) {
  const [seat] = free(encodes);
  if (!seat) return new Seat(encodes);
  clearTimeout(idle.get(seat));
  idle.delete(seat);
  seat.hold(true);
  return seat;
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
 * How many workers a job takes at most.
 * @param {number} [asked]
 */
const most = (asked = Math.min(MAX_WORKERS, platform.workers)) => asked;

/**
 * Starts the workers that a job will take, beside the reading of its headers.
 * @param {Pick<Job, 'workers' | 'encodes'>} job
 */
export function warm({ workers, encodes }) {
  // Where pages are painted, one leads the job.
  const wanted = Math.min(MAX_WORKERS, most(workers)) + Number(platform.paints);
  try {
    for (let n = wanted - free(encodes).length; n-- > 0; ) giveBack(new Seat(encodes));
  } catch {
    // Whoever needs one says so.
  }
}

/** @param {Job} job */
const sizesOf = ({ sources, outputs }) => Float64Array.from([...sources, ...outputs], ({ size }) => size);

/**
 * @param {Job} job
 * @returns {JobQuestion}
 */
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
function seatFor({ sources, outputs, progress, encodes }) {
  const seat = take(encodes);
  seat.answer = async (question) => {
    switch (question.type) {
      case 'progress':
        progress.held.set(seat, question.memory);
        return progress.add(question.bytes);
      case 'write': {
        const reply = await writeRange(outputs[question.file], question.offset, question.bytes);
        return { reply, transfer: [reply.buffer] };
      }
      case 'read': {
        const all = question.ranges.map(({ file, offset, into }) =>
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
  /** @type {StepAnswers} */
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
      const ask = (/** @type {WorkerQuestion} */ question, /** @type {Transferable[]} */ transfer = []) => orAborted(seat.ask(question, transfer), job.signal);
      try {
        await seat.ready;
        await ask(startOf(job));
        await ask({ type: 'lead', kind, options, list });
        for (;;) {
          // There are outputs now.
          if (answers.sizes) await ask(startOf(job));
          /** @type {WorkerQuestion} */
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
    reports.push(await reportOf(task, localHost(sources, outputs, progress, signal)));
  }
  return reports;
}

/** @typedef {{ tasks: (Task & { i: number })[], left: number, reports: Uint8Array[], start: JobQuestion, done(reports: Uint8Array[]): void, fail(error: unknown): void }} Round */

/** The tasks of a job, in rounds: the next may begin before the last is collected. */
export class Rounds {
  #job;
  /** Rounds to collect. @type {(() => Promise<Uint8Array[]>)[]} */
  #begun = [];
  /** Rounds with tasks that no worker has. @type {Round[]} */
  #queue = [];
  /** @type {Set<Seat>} */
  #seats = new Set();

  /** @param {Job} job */
  constructor(job) {
    this.#job = job;
  }

  /**
   * Begins tasks, the largest first.
   * @param {Task[]} tasks
   */
  start(tasks) {
    const job = this.#job;
    const cost = tasks.reduce((sum, task) => sum + task.cost, 0);
    const workers = !job.encodes && job.workers === undefined && cost < platform.tiny ? 0 : most(job.workers);
    if (!workers) return void this.#begun.push(() => runHere(tasks, job));
    /** @type {Promise<Uint8Array[]>} */
    const round = new Promise((done, fail) => {
      const sorted = tasks.map((task, i) => ({ ...task, i })).sort((a, b) => b.cost - a.cost);
      this.#queue.push({ tasks: sorted, left: tasks.length, reports: [], start: startOf(job), done, fail });
    });
    round.catch(() => {});
    this.#begun.push(() => round);
    tasks.slice(0, Math.max(0, workers - this.#seats.size)).forEach(() => this.#work(seatFor(job)));
  }

  /**
   * Waits for the oldest round.
   * @returns {Promise<Uint8Array[]>} reports in the order of the tasks
   */
  collect() {
    return orAborted(/** @type {any} */ (this.#begun.shift())(), this.#job.signal);
  }

  /** Stops what is at work. */
  async stop() {
    await Promise.allSettled(Array.from(this.#seats, (seat) => seat.end()));
  }

  /** @param {Seat} seat */
  async #work(seat) {
    const { progress } = this.#job;
    this.#seats.add(seat);
    let [round] = this.#queue;
    try {
      await seat.ready;
      for (let told; (round = this.#queue[0]); ) {
        const { label, phase, spec, i } = /** @type {Round['tasks'][0]} */ (round.tasks.shift());
        if (!round.tasks.length) this.#queue.shift();
        progress.phase(phase, label);
        if (told !== round) await seat.ask((told = round).start);
        round.reports[i] = await seat.ask({ type: 'task', spec });
        if (progress.failed) throw progress.failed;
        if (!--round.left) round.done(round.reports);
      }
    } catch (error) {
      return round.fail(error);
    }
    this.#seats.delete(seat);
    giveBack(seat);
  }
}
