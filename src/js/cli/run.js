// @ts-check
// The commands: flags into options of the library, what it reports to the output.
/** @import * as T from '../types.js' */
/** @import { Flags } from './arguments.js' */
/** @import { Output } from './output.js' */
import { realpathSync, statSync } from 'node:fs';
import { decode, diff, encode, hash, inspect, lineage, plan, stats, verify } from '../node.js';
import { usage } from '../errors.js';
import { printable } from './units.js';
import { decodeLines, diffLines, encodeLines, hashLines, inspectionLines, lineageLines, planLines, statsLines, verifyLines } from './reports.js';

/**
 * @typedef {object} Call
 * @property {string[]} files
 * @property {Flags} flags
 * @property {T.CallOptions} options that every call of the library takes
 * @property {Output} out
 */

/** By the command's name; each gives its exit code. @type {Record<string, (call: Call) => Promise<number | void>>} */
export const RUN = { inspect: runInspect, encode: runEncode, decode: runDecode, verify: runVerify, lineage: runLineage, stats: runStats, diff: runDiff, hash: runHash };

/**
 * @param {string} glob
 * @returns {(tensor: { name: string }) => boolean}
 */
function matcher(glob) {
  const pattern = glob.replace(/[\\^$.|+()[\]{}]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.');
  const whole = new RegExp(`^${pattern}$`, 's');
  return ({ name }) => whole.test(name);
}

/** @param {Call} call */
async function runInspect({ files, flags: { tensors, sort, match, json }, options, out }) {
  if (sort && sort !== 'bytes' && sort !== 'name') throw usage(`--sort is bytes or name, not ${sort}`);
  let exit = 0;
  for (const [i, file] of files.entries()) {
    let report;
    try {
      report = await inspect(file, options);
    } catch (/** @type {any} */ error) {
      // One bad file does not hide the others.
      if (files.length === 1 || error.code === 'ABORTED') throw error;
      exit ||= out.fail(error);
      continue;
    }
    const rows = match ? report.tensors.filter(matcher(match)) : [...report.tensors];
    if (sort === 'bytes') rows.sort((a, b) => b.bytes - a.bytes);
    if (sort === 'name') rows.sort((a, b) => (a.name < b.name ? -1 : 1));
    if (json) {
      out.printJson({ ...report, tensors: rows });
      continue;
    }
    if (i) out.print(['']);
    out.print(inspectionLines(file, report, rows, Boolean(tensors || match), out.width));
    if (match && !rows.length) out.print([noMatch(match)]);
  }
  return exit;
}

/** What a folder is called without links; nothing for what is none. @param {string | undefined} path */
function realFolder(path) {
  try {
    return path !== undefined && statSync(path).isDirectory() ? realpathSync(path) : undefined;
  } catch {
    return undefined;
  }
}

/** @param {string} glob */
const noMatch = (glob) => printable(`no tensor matches ${glob}; wdelta inspect --tensors shows their names`);

/**
 * @param {any} options of the job
 * @param {Call} call
 */
async function showPlan(options, { flags: { json, output, 'copy-side-files': sideFiles }, out }) {
  const report = await plan(options);
  if (json) out.printJson(report);
  else out.print(planLines(report, output, sideFiles));
  return report.problems.some(({ severity }) => severity === 'error') ? 1 : 0;
}

/** @param {Call} call */
async function runEncode(call) {
  const { flags, out } = call;
  const options = /** @type {any} */ ({
    base: flags.base,
    finetuned: flags.finetuned,
    parents: flags.parent,
    strategy: flags.strategy,
    effort: flags.effort,
    lowRank: flags['low-rank'],
    quality: flags.quality,
    ratio: flags.ratio,
    // As spelled: in reference mode it is written into the file.
    outlierFraction: flags['outlier-fraction'],
    sparsity: flags.sparsity,
    reference: flags.reference,
    baseName: flags['base-name'],
    hashOrder: flags['hash-order'],
    output: flags.output,
    force: flags.force,
    ...call.options,
  });
  if (flags['dry-run']) return showPlan({ job: 'encode', ...options }, call);
  const report = await encode(options);
  if (flags.json) out.printJson(report);
  else out.print(encodeLines(report));
}

/** @param {Call} call */
async function runDecode(call) {
  const { files, flags, out } = call;
  const [folder, base] = [flags.output, flags.base].map(realFolder);
  if (folder && folder === base) throw usage(`${flags.output} is the base's own folder, and with a second model in it neither can be read as one; choose another output`);
  const options = /** @type {any} */ ({
    base: flags.base,
    deltas: files,
    dtype: flags.dtype,
    verify: flags['no-verify'] ? false : undefined,
    sideFiles: flags['copy-side-files'],
    layout: flags.layout,
    output: flags.output,
    force: flags.force,
    ...call.options,
  });
  if (flags['dry-run']) return showPlan({ job: 'decode', ...options }, call);
  const report = await decode(options);
  if (flags.json) out.printJson(report);
  else out.print(decodeLines(report, { deltas: files.length, verified: !flags['no-verify'], sideFiles: flags['copy-side-files'] }));
}

/** @param {Call} call */
async function runVerify({ files, flags: { base, json }, options, out }) {
  const report = await verify({ deltas: files, base, ...options });
  if (json) out.printJson(report);
  else out.print(verifyLines(report, files));
}

/** @param {Call} call */
async function runLineage({ files, flags: { base, json }, options, out }) {
  const report = await lineage({ deltas: files, base, ...options });
  if (json) out.printJson(report);
  else out.print(lineageLines(report, files, out.width));
  return report.ok ? 0 : 1;
}

/** @param {Call} call */
async function runStats({ files, flags: { base, match, json }, options, out }) {
  let names;
  if (match) {
    const found = new Set();
    for (const delta of files) {
      const { tensors } = await inspect(delta, options);
      tensors.filter(matcher(match)).forEach(({ name }) => found.add(name));
    }
    if (!found.size) throw usage(noMatch(match));
    names = [...found];
  }
  const rows = [];
  for await (const item of stats({ deltas: files, base, names, ...options })) {
    if (json) out.printJson(item);
    else rows.push(item);
  }
  if (!json) out.print(statsLines(rows, out.width));
}

/** @param {Call} call */
async function runDiff({ files, flags: { base, json }, options, out }) {
  const report = await diff({ a: files[0], b: files[1], base, ...options });
  if (json) out.printJson(report);
  else out.print(diffLines(report, files, out.width));
}

/** @param {Call} call */
async function runHash({ files, flags: { float32, json }, options, out }) {
  const report = await hash({ model: files[0], as: float32 ? 'float32' : 'stored', ...options });
  if (json) out.printJson(report);
  else out.print(hashLines(report));
}
