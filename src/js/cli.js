#!/usr/bin/env node
// @ts-check
// The `wdelta` command: flags into options of the library, reports into text. Results go to stdout, progress and errors
// to stderr. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.
/** @import * as T from './types.js' */
import { parseArgs } from 'node:util';
import { decode, diff, encode, hash, inspect, lineage, plan, stats, verify, version, WdeltaError } from './node.js';
import { suggest } from './options.js';
import { columns, formatBytes, formatCount, formatDuration, formatNumber, printable, shorten } from './cli-units.js';

/**
 * @typedef {Record<string, any>} Flags
 * @typedef {object} Flag
 * @property {'string' | 'boolean'} type
 * @property {string} [short]
 * @property {boolean} [multiple]
 * @property {string} [value] how the help calls its value
 * @property {string} about
 *
 * @typedef {object} Command
 * @property {string} usage
 * @property {string} about
 * @property {string} examples
 * @property {[number, number]} files least and most arguments without a flag
 * @property {Record<string, Flag>} flags
 * @property {string[]} [needs] flags that must be there
 * @property {string} json what --json prints
 * @property {(files: string[], flags: Flags, call: T.CallOptions) => Promise<number | void>} run gives the exit code
 */

/** @type {Record<string, Flag>} */
const COMMON = {
  workers: { type: 'string', value: 'N', about: 'number of workers; 0 runs everything in one thread (default: cores, at most 8)' },
  json: { type: 'boolean', about: 'print the result as JSON, one object a line' },
  quiet: { type: 'boolean', about: 'print errors only' },
  force: { type: 'boolean', about: 'replace an output that exists' },
  'allow-full-read': { type: 'boolean', about: 'fetch a URL whole if its server cannot send parts of it' },
  help: { type: 'boolean', short: 'h', about: 'show this help' },
  version: { type: 'boolean', about: 'show the version' },
};

/** @type {Flag} */
const BASE = { type: 'string', value: 'PATH', about: 'the base model: a .safetensors file, or the folder of a model' };
/** @type {Flag} */
const MATCH = { type: 'string', value: 'GLOB', about: "only tensors with such names, as in '*.mlp.*'" };
/** @type {Flag} */
const DRY_RUN = { type: 'boolean', about: 'say what would be done, and do nothing' };

/** @type {Record<string, Command>} */
const COMMANDS = {
  inspect: {
    usage: 'inspect FILE… [--tensors] [--sort bytes|name] [--match GLOB]',
    about: 'Shows what is in a delta. Reads its header only.',
    examples: `  wdelta inspect chat.wdelta
  wdelta inspect chat.wdelta --tensors --sort bytes
  wdelta inspect chat.wdelta --match 'model.layers.0.*'
  wdelta inspect chat.wdelta --json | jq .baseHash
  wdelta inspect https://example.com/chat.wdelta`,
    files: [1, Infinity],
    flags: {
      tensors: { type: 'boolean', about: 'a line for each tensor instead of one for each role' },
      sort: { type: 'string', value: 'ORDER', about: 'bytes (largest first) or name; else as in the file' },
      match: MATCH,
    },
    json: '{ version, strategy, bytes, baseHash, baseName?, elements, lossless?, loss?, layout, tensors: [{ name, dtype, shape, elements, strategy, bytes, lossless?, loss?, options, group, records }], findings }',
    run: runInspect,
  },
  encode: {
    usage: 'encode --base PATH --finetuned PATH -o FILE [--strategy NAME] [--effort 0…3] [--quality N] [--parent FILE]…',
    about: 'Makes a delta of a fine-tune against its base.',
    examples: `  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta
  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta --strategy lossy --ratio 30
  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta --strategy sparse --sparsity 0.95
  wdelta encode --base llama/ --finetuned chat-v2/ --parent chat.wdelta -o chat-v2.wdelta
  wdelta encode --base llama/ --finetuned chat/ --dry-run`,
    files: [0, 0],
    flags: {
      base: BASE,
      finetuned: { type: 'string', value: 'PATH', about: 'the fine-tuned model: a .safetensors file or a folder' },
      output: { type: 'string', short: 'o', value: 'FILE', about: 'the delta to write' },
      strategy: { type: 'string', value: 'NAME', about: 'lossless (default) or lossy; int4, sparse or quantized as deltatensors has them (version 1)' },
      effort: { type: 'string', value: 'N', about: 'lossless, lossy: 0 (fastest) to 3 (smallest), default 2' },
      'low-rank': { type: 'string', value: 'WHEN', about: 'lossless, lossy: auto (default) looks for a low-rank part of each change, off does not' },
      quality: { type: 'string', value: 'N', about: 'lossy: 1 (smallest) to 100 (lossless), default 50' },
      ratio: { type: 'string', value: 'N', about: 'lossy: how many times smaller than the fine-tune the delta shall be, instead of a quality' },
      parent: { type: 'string', multiple: true, value: 'FILE', about: 'a delta between the base and the fine-tune; repeat it for a chain, in order' },
      'outlier-fraction': { type: 'string', value: 'X', about: 'int4: share of the largest changes that are kept exactly (default 0.01)' },
      sparsity: { type: 'string', value: 'X', about: 'sparse: share of the smallest changes that are dropped (default 0.9)' },
      reference: { type: 'boolean', about: 'write what deltatensors 0.2.0 writes, byte for byte' },
      'base-name': { type: 'string', value: 'TEXT', about: 'where the base is to be had, for whoever lacks it' },
      'hash-order': { type: 'string', value: 'ORDER', about: 'memory or paths: which loader of deltatensors must accept a sharded base' },
      'dry-run': DRY_RUN,
    },
    needs: ['base', 'finetuned'],
    json: '{ job, version, strategy, bytes, finetunedBytes, elements, baseHash, relativeError, tensors: [{ name, dtype, shape, elements, strategy, requested, reason?, bytes, unchanged, relativeError, largestError }], findings, outputs }; with --dry-run { job, bytes, exact, outputs, problems, reads, writes, tensors, elements }',
    run: runEncode,
  },
  decode: {
    usage: 'decode --base PATH -o PATH DELTA… [--dtype base|float32] [--no-verify] [--copy-side-files]',
    about: 'Rebuilds a fine-tune from its base and its delta, or a chain of them in order.',
    examples: `  wdelta decode --base llama/ chat.wdelta -o chat/ --copy-side-files
  wdelta decode --base llama/ chat.wdelta chat-v2.wdelta -o chat-v2/
  wdelta decode --base base.safetensors chat.wdelta -o chat.safetensors --dtype float32
  wdelta decode --base llama/ chat.wdelta --dry-run`,
    files: [1, Infinity],
    flags: {
      base: BASE,
      output: { type: 'string', short: 'o', value: 'PATH', about: 'a file, or a folder (where the base is sharded, or with side files)' },
      dtype: { type: 'string', value: 'DTYPE', about: 'base (default: as the base has them) or float32' },
      'no-verify': { type: 'boolean', about: 'do not check the hash of the base and the checksum of the deltas' },
      'copy-side-files': { type: 'boolean', about: 'bring config, tokenizer and the like from the base' },
      layout: { type: 'string', value: 'LAYOUT', about: 'auto (default: sharded as the base) or single (one file)' },
      'dry-run': DRY_RUN,
    },
    needs: ['base'],
    json: '{ job, bytes, dtype, files: [{ path, size }], tensors, links: [{ index, expected, order }], findings, outputs }; with --dry-run as encode',
    run: runDecode,
  },
  verify: {
    usage: 'verify DELTA… [--base PATH]',
    about: 'Reads deltas to the end and checks them; with the base, also whether they fit.',
    examples: `  wdelta verify chat.wdelta
  wdelta verify chat.wdelta chat-v2.wdelta --base llama/`,
    files: [1, Infinity],
    flags: { base: BASE },
    json: '{ ok, version, deltas: [{ index, bytes, checksum, tensors, baseHash, base }], findings }',
    run: runVerify,
  },
  lineage: {
    usage: 'lineage DELTA… [--base PATH]',
    about: 'Puts deltas in order and says which link does not fit.',
    examples: `  wdelta lineage *.wdelta
  wdelta lineage *.wdelta --base llama/`,
    files: [1, Infinity],
    flags: { base: BASE },
    json: '{ ok, order, links: [{ index, parent, state, expected, found?, reason? }], findings }',
    run: runLineage,
  },
  stats: {
    usage: 'stats DELTA… [--base PATH] [--match GLOB]',
    about: 'Shows what a fine-tune changed, tensor by tensor; with the base, relative to it.',
    examples: `  wdelta stats chat.wdelta --base llama/
  wdelta stats chat.wdelta --match '*.q_proj.*' --json > q.jsonl`,
    files: [1, Infinity],
    flags: { base: BASE, match: MATCH },
    json: '{ name, dtype, shape, elements, strategy, zeros, mean, rms, min, max, norm, baseNorm?, relative?, histogram, rows, outliers, scales? } for each tensor',
    run: runStats,
  },
  diff: {
    usage: 'diff A B [--base PATH]',
    about: 'Compares two models or two deltas.',
    examples: `  wdelta diff chat/ rebuilt/
  wdelta diff a.wdelta b.wdelta
  wdelta diff a.wdelta chat/ --base llama/`,
    files: [2, 2],
    flags: { base: BASE },
    json: '{ kind, onlyA, onlyB, changed: [{ name, a, b, what }], tensors: [{ name, elements, equal, distance, relative, cosine }], totals }',
    run: runDiff,
  },
  hash: {
    usage: 'hash PATH [--float32]',
    about: 'The hashes by which a delta knows this model as its base.',
    examples: `  wdelta hash llama/
  wdelta hash llama/ --float32`,
    files: [1, 1],
    flags: { float32: { type: 'boolean', about: 'of the values as float32, as after a first delta' } },
    json: '{ as, tensors, bytes, sorted, grouped, agree }',
    run: runHash,
  },
};

const OVERVIEW = `wdelta stores a fine-tune as a small delta against its base model, and rebuilds it.

${Object.values(COMMANDS)
  .map(({ usage, about }) => `  wdelta ${usage}\n      ${about}`)
  .join('\n')}

Start with
  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta
  wdelta inspect chat.wdelta
  wdelta decode --base llama/ chat.wdelta -o rebuilt/ --copy-side-files

PATH is a .safetensors file, a folder of a model (also in the Hugging Face cache), or an http(s) URL of a file.
${flagHelp(COMMON)}
Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted. \`wdelta help COMMAND\` says more.
`;

/** @param {Record<string, Flag>} flags */
function flagHelp(flags) {
  const rows = Object.entries(flags).map(([name, { short, value, about }]) => [
    `  ${short ? `-${short}, ` : ''}--${name}${value ? ` ${value}` : ''}`,
    about,
  ]);
  const width = Math.max(...rows.map(([left]) => left.length));
  return `${rows.map(([left, about]) => `${left.padEnd(width)}  ${about}`).join('\n')}\n`;
}

/** @param {string} name */
function commandHelp(name) {
  const { usage, about, examples, flags, json } = COMMANDS[name];
  return `wdelta ${usage}

${about}

${examples}

${flagHelp(flags)}
${flagHelp(COMMON)}
--json prints ${json}
`;
}

/** @param {string} message */
const wrongUse = (message) => new WdeltaError('USAGE', message);

/**
 * @param {string} name
 * @param {string[]} args
 * @returns {{ files: string[], flags: Flags }}
 */
function parse(name, args) {
  const { files: [least, most], flags: own, needs = [] } = COMMANDS[name];
  const known = { ...own, ...COMMON };
  const options = /** @type {any} */ (known);
  // Not strict: its messages do not say which flag was meant.
  const { tokens } = parseArgs({ args, options, allowPositionals: true, strict: false, tokens: true });
  /** @type {Flags} */
  const flags = {};
  const files = [];
  for (const token of tokens) {
    if (token.kind === 'positional') files.push(token.value);
    if (token.kind !== 'option') continue;
    const flag = Object.hasOwn(known, token.name) ? known[token.name] : undefined;
    if (!flag) {
      const hint = suggest(token.name, Object.keys(known))?.replace('mean ', 'mean --');
      throw wrongUse(`${name} has no flag ${token.rawName}; ${hint ?? `see wdelta help ${name}`}`);
    }
    if (flag.type === 'boolean') {
      if (token.value !== undefined) throw wrongUse(`--${token.name} takes no value`);
      flags[token.name] = true;
      continue;
    }
    if (!token.value || (token.value.startsWith('-') && !token.inlineValue)) throw wrongUse(`--${token.name} needs a value: ${flag.value}, ${flag.about}`);
    if (flag.multiple) (flags[token.name] ??= []).push(token.value);
    else if (token.name in flags) throw wrongUse(`--${token.name} is given twice`);
    else flags[token.name] = token.value;
  }
  if (flags.help || flags.version) return { files, flags };
  const missing = needs.find((need) => !(need in flags));
  if (missing) throw wrongUse(`${name} needs --${missing}; see wdelta help ${name}`);
  if ('output' in own && !flags.output && !flags['dry-run']) throw wrongUse(`${name} needs -o, where to write; see wdelta help ${name}`);
  if (files.length < least || files.length > most) {
    const wanted = least === most ? (least || 'no') : `at least ${least}`;
    throw wrongUse(`${name} takes ${wanted} file argument${least === 1 ? '' : 's'}, and ${files.length || 'none'} ${files.length > 1 ? 'are' : 'is'} given; see wdelta help ${name}`);
  }
  return { files, flags };
}

// ---- what is printed ----------------------------------------------------------------------------------------------

let quiet = false;
/** Width of the terminal; what is not a terminal gets everything. */
const width = () => process.stdout.columns || Number(process.env.COLUMNS) || Infinity;

/** Takes the progress line away before anything else is written. */
let clearLine = () => {};

/** @param {string} text */
function print(text) {
  if (quiet) return;
  clearLine();
  process.stdout.write(`${text}\n`);
}

/** @param {unknown} report */
function printJson(report) {
  clearLine();
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

/**
 * @typedef {object} Column
 * @property {string} head
 * @property {(row: any) => string} cell
 * @property {boolean} [left] flush left
 */

/**
 * Prints a table that fits the terminal: the first column is cut in the middle, then columns at the right end go.
 * @param {any[]} rows
 * @param {Column[]} shown
 */
function printTable(rows, shown) {
  const cells = shown.map(({ head, cell }) => [head, ...rows.map((row) => printable(cell(row)))]);
  const widths = cells.map((column) => Math.max(...column.map(columns)));
  /** Space that the first column keeps. */
  const kept = Math.min(widths[0], 30);
  const total = () => widths.reduce((sum, one) => sum + one + 2, -2);
  while (widths.length > 1 && total() - widths[0] + kept > width()) widths.pop();
  widths[0] = Math.min(widths[0], widths[0] + width() - total());
  for (let row = 0; row <= rows.length; row++) {
    const line = widths.map((room, i) => {
      const text = shorten(cells[i][row], room);
      const space = ' '.repeat(room - columns(text));
      return i === 0 || shown[i].left ? text + space : space + text;
    });
    print(line.join('  ').trimEnd());
  }
}

/** @param {T.Finding[]} findings */
function printFindings(findings) {
  for (const { severity, code, message, tensor } of findings) {
    print(printable(`${severity}: ${code}: ${message}${tensor && !message.includes(tensor) ? ` (tensor ${tensor})` : ''}`));
  }
}

/**
 * @param {number} n
 * @param {string} what
 */
const plural = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`;

/** @param {string} glob */
function matcher(glob) {
  const pattern = glob.replace(/[\\^$.|+()[\]{}]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.');
  const whole = new RegExp(`^${pattern}$`, 's');
  return (/** @type {{ name: string }} */ { name }) => whole.test(name);
}

/** @param {any} error */
function printError(error) {
  const { code, message, tensor, source, offset } = error;
  const where = [
    tensor && !message.includes(tensor) && `tensor ${tensor}`,
    source && !message.includes(source) && `file ${source}`,
    offset !== undefined && !message.includes(String(offset)) && `offset ${offset}`,
  ].filter(Boolean);
  process.stderr.write(`${printable(`wdelta: ${code}: ${message}${where.length ? ` (${where.join(', ')})` : ''}`)}\n`);
}

/** Shows progress on stderr: a line that is drawn over on a terminal, else a line now and then. */
function progressLine() {
  const { stderr } = process;
  const live = stderr.isTTY && process.env.TERM !== 'dumb';
  let drawn = false;
  let last = Date.now();
  return {
    /** @param {T.ProgressEvent} event */
    show({ phase, tensor, done, total, bytesPerSecond, etaSeconds }) {
      const share = total ? done / total : 0;
      const parts = [phase.padEnd(8)];
      if (total) parts.push(`${String(Math.floor(share * 100)).padStart(3)} %`, `${formatBytes(done)} of ${formatBytes(total)}`);
      if (bytesPerSecond) parts.push(`${formatBytes(bytesPerSecond)}/s`);
      if (etaSeconds !== null && share < 1) parts.push(`about ${formatDuration(etaSeconds)} left`);
      if (!live) {
        // Few lines: logs are read later.
        if (!total || Date.now() - last < 10_000) return;
        last = Date.now();
        stderr.write(`${parts.join('  ')}\n`);
        return;
      }
      const room = (stderr.columns || 80) - 1;
      if (total) parts.splice(1, 0, `[${'#'.repeat(Math.round(share * 20)).padEnd(20, '-')}]`);
      let line = parts.join('  ');
      if (line.length > room) line = parts.filter((part) => part[0] !== '[').join('  ');
      if (tensor && room - line.length > 18) line += `  ${shorten(printable(tensor), room - line.length - 2)}`;
      stderr.write(`\r\x1b[K${shorten(line, room)}`);
      drawn = true;
    },
    clear() {
      if (drawn) stderr.write('\r\x1b[K');
      drawn = false;
    },
  };
}

// ---- commands -----------------------------------------------------------------------------------------------------

/** @type {Command['run']} */
async function runInspect(files, { tensors, sort, match, json }, call) {
  if (sort && sort !== 'bytes' && sort !== 'name') throw wrongUse(`--sort is bytes or name, not ${sort}`);
  for (const [i, file] of files.entries()) {
    const report = await inspect(file, call);
    let rows = match ? report.tensors.filter(matcher(match)) : [...report.tensors];
    if (sort === 'bytes') rows.sort((a, b) => b.bytes - a.bytes);
    if (sort === 'name') rows.sort((a, b) => (a.name < b.name ? -1 : 1));
    if (json) {
      printJson({ ...report, tensors: rows });
      continue;
    }
    if (i) print('');
    const { strategy, bytes, elements, baseHash, baseName } = report;
    print(printable(`${file}: version ${report.version}, ${strategy}, ${formatBytes(bytes)}, ${plural(report.tensors.length, 'tensor')}, ${formatCount(elements)} weights, ${bits(bytes, elements)} bits each`));
    if (report.loss) print(`rebuilds a model near the fine-tune: relative error of the delta ${formatNumber(report.loss.relativeError)}, largest error ${formatNumber(report.loss.largestError)}`);
    print(printable(`base: ${baseName ? `${baseName}, ` : ''}${baseHash}`));
    print('');
    if (tensors || match) printTable(rows, TENSOR_COLUMNS);
    else printTable(byRole(rows), ROLE_COLUMNS);
    if (report.findings.length) print('');
    printFindings(report.findings);
  }
}

/**
 * @param {number} bytes
 * @param {number} elements
 */
const bits = (bytes, elements) => (elements ? formatNumber((bytes * 8) / elements) : '-');

/** @type {Column[]} */
const SIZE_COLUMNS = [
  { head: 'bytes', cell: ({ bytes }) => formatBytes(bytes) },
  { head: 'bits/weight', cell: ({ bytes, elements }) => bits(bytes, elements) },
];
/** @type {Column[]} */
const TENSOR_COLUMNS = [
  { head: 'tensor', cell: ({ name }) => name },
  { head: 'shape', cell: ({ shape }) => shape.join('×') || 'scalar' },
  ...SIZE_COLUMNS,
  { head: 'strategy', cell: ({ strategy }) => strategy, left: true },
  { head: 'dtype', cell: ({ dtype }) => dtype, left: true },
];
/** @type {Column[]} */
const ROLE_COLUMNS = [
  { head: 'role', cell: ({ role }) => role },
  { head: 'tensors', cell: ({ tensors }) => String(tensors) },
  { head: 'weights', cell: ({ elements }) => formatCount(elements) },
  ...SIZE_COLUMNS,
  { head: 'strategy', cell: ({ strategies }) => [...strategies].join(', '), left: true },
];

/** @param {T.InspectedTensor[]} tensors */
function byRole(tensors) {
  const roles = new Map();
  for (const { name, group, bytes, elements, strategy } of tensors) {
    const role = group?.role || name;
    const sum = roles.get(role) ?? { role, tensors: 0, bytes: 0, elements: 0, strategies: new Set() };
    sum.tensors++;
    sum.bytes += bytes;
    sum.elements += elements;
    sum.strategies.add(strategy);
    roles.set(role, sum);
  }
  return [...roles.values()];
}

/**
 * @param {T.Plan} report
 * @param {Flags} flags
 */
function printPlan(report, { json, output }) {
  const { bytes, exact, outputs, problems, reads, writes, tensors, elements } = report;
  if (json) printJson(report);
  else {
    print(`would write ${formatBytes(bytes)}${exact ? '' : ' or less'} in ${plural(outputs.length, 'file')}:`);
    for (const { path, size } of outputs) print(printable(`  ${(outputs.length === 1 && output) || path || 'the output'}  ${formatBytes(size)}`));
    print(`${plural(tensors, 'tensor')}, ${formatCount(elements)} weights; reads ${formatBytes(reads)}, writes ${formatBytes(writes)}`);
    printFindings(problems);
  }
  return problems.some(({ severity }) => severity === 'error') ? 1 : 0;
}

/** @type {Command['run']} */
async function runEncode(_, flags, call) {
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
    ...call,
  });
  if (flags['dry-run']) return printPlan(await plan({ job: 'encode', ...options }), flags);
  const report = await encode(options);
  if (flags.json) return printJson(report);
  const { bytes, finetunedBytes, relativeError, tensors, elements, findings } = report;
  print(printable(`${flags.output}: ${formatBytes(bytes)}, the fine-tune has ${formatBytes(finetunedBytes)} (${formatNumber(finetunedBytes / bytes)} times as much)`));
  const error = relativeError ? `relative error of the delta ${formatNumber(relativeError)}` : 'exact';
  print(`${report.strategy}, ${plural(tensors.length, 'tensor')}, ${formatCount(elements)} weights, ${bits(bytes, elements)} bits each, ${error}`);
  const changed = tensors.filter(({ unchanged, elements }) => unchanged < elements);
  if (changed.length < tensors.length) print(`${plural(tensors.length - changed.length, 'tensor')} as in the base`);
  // In version 2 a tensor's strategy is an operation, chosen for it: nothing was asked for that it could differ from.
  const other = changed.filter(({ strategy, requested, reason }) => report.version === 1 ? strategy !== requested : reason);
  for (const { name, strategy, requested, reason } of other) print(printable(`${name}: ${strategy} instead of ${requested}${reason ? `: ${reason}` : ''}`));
  printFindings(findings);
}

/** @type {Command['run']} */
async function runDecode(deltas, flags, call) {
  const options = /** @type {any} */ ({
    base: flags.base,
    deltas,
    dtype: flags.dtype,
    verify: flags['no-verify'] ? false : undefined,
    sideFiles: flags['copy-side-files'],
    layout: flags.layout,
    output: flags.output,
    force: flags.force,
    ...call,
  });
  if (flags['dry-run']) return printPlan(await plan({ job: 'decode', ...options }), flags);
  const report = await decode(options);
  if (flags.json) return printJson(report);
  const { outputs = [], files, bytes, tensors, findings } = report;
  outputs.forEach((path, i) => print(printable(`${path}: ${formatBytes(files[i]?.size ?? bytes)}`)));
  print(`${plural(tensors, 'tensor')}, ${formatBytes(bytes)}; ${plural(deltas.length, 'delta')} ${flags['no-verify'] ? 'not verified' : 'verified'}`);
  printFindings(findings);
}

/** @type {Command['run']} */
async function runVerify(deltas, { base, json }, call) {
  const report = await verify({ deltas, base, ...call });
  if (json) return printJson(report);
  for (const { index, bytes, checksum, tensors, base } of report.deltas) {
    print(printable(`${deltas[index]}: ${formatBytes(bytes)}, ${plural(tensors, 'tensor')}, checksum ${checksum}, base ${base}`));
  }
  printFindings(report.findings);
}

/** @type {Command['run']} */
async function runLineage(deltas, { base, json }, call) {
  const report = await lineage({ deltas, base, ...call });
  if (json) printJson(report);
  else {
    const rows = [...report.links].sort((a, b) => report.order.indexOf(a.index) - report.order.indexOf(b.index));
    printTable(rows, [
      { head: 'delta', cell: ({ index }) => deltas[index] },
      { head: 'made against', cell: ({ parent }) => (parent === null ? 'unknown' : parent === 'base' ? 'the base' : deltas[parent]), left: true },
      { head: 'link', cell: ({ state }) => state, left: true },
    ]);
    for (const { index, state, expected, found, reason } of rows) {
      if (state !== 'broken') continue;
      print(printable(`${deltas[index]}: ${reason ?? 'does not follow'}; expected ${expected}${found ? `, found ${found}` : ''}`));
    }
    printFindings(report.findings);
  }
  return report.ok ? 0 : 1;
}

/** @type {Command['run']} */
async function runStats(deltas, { base, match, json }, call) {
  let names;
  if (match) {
    const found = new Set();
    for (const delta of deltas) {
      const { tensors } = await inspect(delta, call);
      tensors.filter(matcher(match)).forEach(({ name }) => found.add(name));
    }
    if (!found.size) throw wrongUse(`no tensor matches ${match}; wdelta inspect --tensors shows their names`);
    names = [...found];
  }
  const rows = [];
  for await (const item of stats({ deltas, base, names, ...call })) {
    if (json) printJson(item);
    else rows.push(item);
  }
  if (json) return;
  printTable(rows, [
    { head: 'tensor', cell: ({ name }) => name },
    { head: 'rms', cell: ({ rms }) => formatNumber(rms) },
    { head: 'to base', cell: ({ relative }) => formatNumber(relative) },
    { head: 'min', cell: ({ min }) => formatNumber(min) },
    { head: 'max', cell: ({ max }) => formatNumber(max) },
    { head: 'zeros', cell: ({ zeros, elements }) => percent(zeros / elements) },
    { head: 'outliers', cell: ({ outliers }) => percent(outliers?.share) },
    { head: 'strategy', cell: ({ strategy }) => strategy, left: true },
  ]);
}

/** @param {number | undefined} share */
const percent = (share) => (Number.isFinite(share) ? `${(Number(share) * 100).toFixed(1)} %` : '-');

/** @type {Command['run']} */
async function runDiff([a, b], { base, json }, call) {
  const report = await diff({ a, b, base, ...call });
  if (json) return printJson(report);
  const { onlyA, onlyB, changed, tensors, totals } = report;
  for (const name of onlyA) print(printable(`${name}: only in ${a}`));
  for (const name of onlyB) print(printable(`${name}: only in ${b}`));
  for (const { name, what, a, b } of changed) print(printable(`${name}: other ${what}: ${a} and ${b}`));
  const different = tensors.filter(({ distance, equal, elements }) => distance || equal < elements);
  different.sort((one, two) => two.relative - one.relative);
  if (different.length) {
    printTable(different, [
      { head: 'tensor', cell: ({ name }) => name },
      { head: 'relative', cell: ({ relative }) => formatNumber(relative) },
      { head: 'equal', cell: ({ equal, elements }) => percent(equal / elements) },
      { head: 'cosine', cell: ({ cosine }) => formatNumber(cosine) },
      { head: 'distance', cell: ({ distance }) => formatNumber(distance) },
    ]);
  }
  print(`${plural(tensors.length - different.length, 'tensor')} equal, ${different.length} different; relative distance ${formatNumber(totals.relative)}, cosine ${formatNumber(totals.cosine)}`);
}

/** @type {Command['run']} */
async function runHash([model], { float32, json }, call) {
  const report = await hash({ model, as: float32 ? 'float32' : 'stored', ...call });
  if (json) return printJson(report);
  print(`${report.sorted}  sorted names${report.agree ? ', and shard groups' : ''}`);
  if (!report.agree) print(`${report.grouped}  shard groups`);
}

// ---- start --------------------------------------------------------------------------------------------------------

/**
 * @param {string[]} args
 * @returns {Promise<number>} exit code
 */
async function main([name, ...args]) {
  if (name === undefined) {
    process.stderr.write(OVERVIEW);
    return 2;
  }
  if (name === 'help') [name, args] = args.length ? [args[0], ['--help']] : ['--help', []];
  if (name === '--help' || name === '-h') {
    print(OVERVIEW.trimEnd());
    return 0;
  }
  if (name === '--version') {
    print(await version());
    return 0;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    throw wrongUse(`there is no command ${name}; ${suggest(name, Object.keys(COMMANDS)) ?? 'see wdelta --help'}`);
  }
  const { files, flags } = parse(name, args);
  if (flags.help || flags.version) {
    print(flags.help ? commandHelp(name).trimEnd() : await version());
    return 0;
  }
  if (flags.workers !== undefined && !/^\d{1,2}$/.test(flags.workers)) throw wrongUse(`--workers is a whole number from 0 to 64, not ${flags.workers}`);

  quiet = Boolean(flags.quiet);
  const controller = new AbortController();
  /** @param {NodeJS.Signals} signal */
  const interrupt = (signal) => {
    // The second time without manners; unfinished files are removed at exit.
    if (controller.signal.aborted) process.exit(130);
    controller.abort(new Error(signal));
  };
  for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, interrupt);
  const line = progressLine();
  clearLine = line.clear;
  const call = {
    signal: controller.signal,
    onProgress: quiet ? undefined : line.show,
    workers: flags.workers === undefined ? undefined : Number(flags.workers),
    allowFullRead: flags['allow-full-read'],
  };
  try {
    return (await COMMANDS[name].run(files, flags, call)) ?? 0;
  } finally {
    clearLine();
  }
}

/** @type {Record<string, number>} */
const EXIT_CODES = { USAGE: 2, ABORTED: 130 };

process.stdout.on('error', (error) => {
  // Whoever read this has enough, as in `wdelta inspect … | head`.
  if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (/** @type {any} */ error) {
  if (error?.code === 'ABORTED') error.message = 'interrupted; nothing is left behind';
  printError(error instanceof WdeltaError ? error : { code: 'INTERNAL', message: error?.stack ?? String(error) });
  process.exitCode = EXIT_CODES[error?.code] ?? 1;
}
