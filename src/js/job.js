// @ts-check
// One call from beginning to end: open, plan, run, check, commit; and whatever happens, nothing left behind.
/** @import { CallOptions, JobRun, Output, OutputTarget, OwnStep, Plan, Sink, Source } from './types.js' */
/** @import { Argument } from './options.js' */
import { engine, load, machine } from './core.js';
import { steps, unpack } from './drive.js';
import { checkAbort, toError, usage } from './errors.js';
import { localHost } from './host.js';
import { sortOptions } from './options.js';
import { platform } from './platform.js';
import { leadJob, Rounds, warm } from './pool.js';
import { Progress } from './progress.js';
import { checkPath, openSink } from './sink.js';
import { openSources } from './source.js';

/** A file that a job reads, and which argument it came with. @typedef {Source & { role: string, group: number }} Opened */

/** What a job has open, and who is told of its progress. @typedef {{ sources: Source[], outputs: Output[], progress: Progress, signal?: AbortSignal }} Files */

/**
 * Runs a job. Yields the items of streamed results; returns the report.
 * @param {string} kind
 * @param {any} given the caller's options
 * @param {boolean} [planOnly] stop at the plan and return it
 * @returns {AsyncGenerator<any, any, void>}
 */
export async function* runJob(kind, given, planOnly = false) {
  const { inputs, options, call, output, force, writes } = sortOptions(kind, given);
  const { signal } = call;
  /** @type {Opened[]} */
  const sources = [];
  /** Also readable as sources, numbered after them. @type {Output[]} */
  const outputs = [];
  const progress = new Progress(call.onProgress);
  /** @type {Sink | undefined} */
  let sink;
  /** @type {Rounds | undefined} */
  let rounds;
  let committed = false;
  /** @type {unknown} */
  let failed;
  try {
    checkAbort(signal);
    await load();
    for (const input of inputs) await openInput(input, { ...call, output }, sources);
    const place = writes ? openSink(output, force, kind === 'encode' ? 'delta.wdelta' : 'model.safetensors') : undefined;
    if (!planOnly) sink = place;

    const list = sources.map(({ role, group, path, size }) => ({ role, group, path, size }));
    const streams = kind === 'tensors' || kind === 'stats';
    const encodes = kind === 'encode' && engine.encoder;
    const large = call.workers ?? (encodes || sources.reduce((sum, { size }) => sum + size, 0) >= platform.tiny);
    const run = { sources, outputs, progress, encodes, ...call };
    if (sink && large) warm(run);
    rounds = new Rounds(run);
    const job = large && (streams || encodes || platform.paints) ? leadJob(kind, options, list, run) : runHere(kind, options, list, run);
    let report;
    for await (const step of job.steps()) {
      if (progress.failed) throw progress.failed;
      switch (step.kind) {
        case 'plan': {
          /** @type {Plan} */
          const plan = step.value;
          plan.outputs.forEach(({ path }) => checkPath(path));
          if (planOnly) {
            await place?.check(plan.outputs).catch(({ code, message }) => plan.problems.push({ severity: 'error', code, message }));
            return plan;
          }
          await sink?.check(plan.outputs);
          progress.plan(plan.reads + plan.writes + (sink?.copies ? plan.bytes : 0));
          break;
        }
        case 'item':
          progress.phase('reading', step.value.name);
          yield kind === 'tensors' ? { ...step.value, data: toValues(step.data, options.as === 'float32') } : step.value;
          break;
        case 'done':
          report = step.value;
          break;
        default:
          await answer(step, job, rounds, run, sink);
      }
    }
    if (planOnly) throw usage(`${kind} has no plan: it only reads what it shows`);
    await Promise.all(sources.map((source) => source.check?.()));
    if (sink) {
      progress.phase('writing');
      Object.assign(report, await sink.commit(signal, (bytes) => progress.add(bytes)));
      committed = true;
    }
    progress.finish();
    return report;
  } catch (thrown) {
    failed = toError(thrown, [...sources, ...outputs]);
    throw failed;
  } finally {
    progress.end();
    // What goes wrong here would only hide why it was stopped.
    await rounds?.stop();
    if (!committed) await sink?.abort(failed).catch(() => {});
    await Promise.allSettled(sources.map((source) => source.close?.()));
  }
}

/**
 * Opens what an argument names.
 * @param {Argument} argument
 * @param {CallOptions & { output?: OutputTarget }} call
 * @param {Opened[]} sources where it goes, file by file
 */
async function openInput({ label, role, group, single, input }, call, sources) {
  const opened = await openSources(input, label, call);
  sources.push(...opened.map((source) => Object.assign(source, { role, group })));
  if (single && opened.length !== 1) throw usage(`${label} is a folder or a list; give one .wdelta file`);
}

/**
 * Does what a step asks for on the way to the result.
 * @param {Exclude<OwnStep, { value: any }>} step
 * @param {JobRun} job
 * @param {Rounds} rounds
 * @param {Files} files
 * @param {Sink} [sink]
 */
async function answer(step, job, rounds, { sources, outputs, progress }, sink) {
  switch (step.kind) {
    case 'create':
      step.outputs.forEach(({ path }) => checkPath(path));
      outputs.push(...(await /** @type {Sink} */ (sink).create(step.outputs)));
      outputs.forEach(({ size, bytes }, i) => {
        job.putSize(sources.length + i, size);
        progress.held.set(i, bytes?.length ?? 0);
      });
      break;
    case 'resize': {
      const output = outputs[step.file];
      output.size = step.size;
      await output.resize?.(step.size);
      break;
    }
    case 'start':
      rounds.start(step.tasks);
      break;
    case 'collect':
      job.putReports(await rounds.collect());
  }
}

/**
 * A whole job but for its tasks in the calling thread.
 * @param {string} kind
 * @param {object} options
 * @param {object[]} list of the sources
 * @param {Files} run
 * @returns {JobRun}
 */
function runHere(kind, options, list, { sources, outputs, progress, signal }) {
  const job = machine((Machine) => Machine.job(kind, options, list));
  return {
    putSize: job.putSize,
    putReports: job.putReports,
    async *steps() {
      for await (const step of steps(job, localHost(sources, outputs, progress, signal))) yield unpack(step);
    },
  };
}

/**
 * @param {Uint8Array} [bytes] of their own
 * @param {boolean} [floats]
 */
const toValues = (bytes = new Uint8Array(), floats) => (floats ? new Float32Array(bytes.buffer) : bytes);

/**
 * Runs a job whose result is its report.
 * @param {string} kind
 * @param {any} given
 * @param {boolean} [planOnly]
 */
export async function finish(kind, given, planOnly) {
  for (const job = runJob(kind, given, planOnly); ; ) {
    const { done, value } = await job.next();
    if (done) return value;
  }
}
