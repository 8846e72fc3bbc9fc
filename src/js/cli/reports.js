// @ts-check
// Reports of the library as lines of text. Names and messages come from files: they pass through `printable`.
/** @import * as T from '../types.js' */
/** @import { Column } from './table.js' */
import { isAbsolute, relative } from 'node:path';
import { placeOf } from '../grouping.js';
import { asFlags } from './arguments.js';
import { table } from './table.js';
import { formatBytes, formatCount, formatNumber, printable } from './units.js';

/**
 * @param {number} n
 * @param {string} what
 */
const plural = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`;

/**
 * Bits per parameter, two decimals where that says enough: columns of them line up.
 * @param {number} bytes
 * @param {number} elements
 */
function bits(bytes, elements) {
  const each = (bytes * 8) / elements;
  return elements ? (each < 0.1 ? formatNumber(each) : each.toFixed(2)) : '-';
}

/** @param {number | undefined} share */
const percent = (share) => (Number.isFinite(share) ? `${(Number(share) * 100).toFixed(1)} %` : '-');

/**
 * What is found in many tensors alike takes one line.
 * @param {T.Finding[]} findings
 */
function findingLines(findings) {
  /** Tensors by what is said of them. @type {Map<string, string[]>} */
  const said = new Map();
  for (const { severity, code, message, tensor } of findings) {
    const line = `${severity}: ${code}: ${code === 'USAGE' ? asFlags(message) : message}`;
    const names = said.get(line) ?? [];
    said.set(line, names);
    if (tensor && !message.includes(tensor)) names.push(tensor);
  }
  return Array.from(said, ([line, [first, ...others]]) => {
    const where = first && ` (tensor ${first}${others.length ? ` and ${others.length} more` : ''})`;
    return printable(line + (where ?? ''));
  });
}

/** @type {Column[]} */
const SIZE_COLUMNS = [
  { head: 'bytes', cell: ({ bytes }) => formatBytes(bytes) },
  { head: 'bits/param', cell: ({ bytes, elements }) => bits(bytes, elements) },
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
  { head: 'parameters', cell: ({ elements }) => formatCount(elements) },
  ...SIZE_COLUMNS,
  { head: 'strategy', cell: ({ strategies }) => [...strategies].join(', '), left: true },
];

/** @param {T.InspectedTensor[]} tensors */
function byRole(tensors) {
  const roles = new Map();
  for (const { name, bytes, elements, strategy } of tensors) {
    const role = placeOf(name).role || name;
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
 * @param {string} file
 * @param {T.Inspection} report
 * @param {T.InspectedTensor[]} rows the tensors to show
 * @param {boolean} each a line for each tensor instead of one for each role
 * @param {number} width
 */
export function inspectionLines(file, report, rows, each, width) {
  const { version, strategy, bytes, elements, tensors, baseHash, baseName, loss, findings } = report;
  const lines = [
    printable(`${file}: version ${version}, ${strategy}, ${formatBytes(bytes)}, ${plural(tensors.length, 'tensor')}, ${formatCount(elements)} parameters, ${bits(bytes, elements)} bits each`),
  ];
  if (loss) lines.push(`rebuilds a model near the fine-tune: relative error of the delta ${formatNumber(loss.relativeError)}, largest error ${formatNumber(loss.largestError)}`);
  lines.push(printable(`base: ${baseName ? `${baseName}, ` : ''}${baseHash}`), '');
  if (rows.length) lines.push(...(each ? table(rows, TENSOR_COLUMNS, width) : table(byRole(rows), ROLE_COLUMNS, width)));
  if (findings.length) lines.push('', ...findingLines(findings));
  return lines;
}

/** A path in the words of who stands in this folder. @param {string} path */
function shown(path) {
  const short = relative('', path);
  return short.startsWith('..') || isAbsolute(short) ? path : short;
}

/**
 * Says so where side files were wanted and there is none.
 * @param {boolean | undefined} wanted
 * @param {T.OutputFile[]} files
 */
function sideFileLines(wanted, files) {
  const some = files.some(({ path }) => path && !/\.safetensors(\.index\.json)?$/.test(path));
  return wanted && !some ? ["note: there is no side file to copy; --base must be the model's folder, with config and tokenizer in it"] : [];
}

/**
 * @param {T.Plan} report
 * @param {string | undefined} output as the user gave it
 * @param {boolean} [sideFiles] whether they were wanted
 */
export function planLines({ bytes, exact, outputs, problems, reads, writes, tensors, elements }, output, sideFiles) {
  return [
    `would write ${formatBytes(bytes)}${exact ? '' : ', at a guess: it follows from the weights,'} in ${plural(outputs.length, 'file')}:`,
    ...outputs.map(({ path, size }) => printable(`  ${(outputs.length === 1 && output) || path || 'the output'}  ${formatBytes(size)}`)),
    `${plural(tensors, 'tensor')}, ${formatCount(elements)} parameters; reads ${formatBytes(reads)}, writes ${formatBytes(writes)}`,
    ...sideFileLines(sideFiles, outputs),
    ...findingLines(problems),
  ];
}

/** @param {T.EncodeReport} report */
export function encodeLines({ version, strategy, outputs = [], bytes, finetunedBytes, relativeError, tensors, elements, findings }) {
  const told = relativeError === null ? 'unknown, as NaN or infinity spread' : formatNumber(relativeError);
  const error = relativeError === 0 ? 'exact' : `relative error of the delta ${told}`;
  const lines = [
    printable(`${outputs.map(shown)}: ${formatBytes(bytes)}, the fine-tune has ${formatBytes(finetunedBytes)} (${formatNumber(finetunedBytes / bytes)} times as much)`),
    `${strategy}, ${plural(tensors.length, 'tensor')}, ${formatCount(elements)} parameters, ${bits(bytes, elements)} bits each, ${error}`,
  ];
  const changed = tensors.filter(({ unchanged, elements }) => unchanged < elements);
  if (changed.length < tensors.length) lines.push(`${plural(tensors.length - changed.length, 'tensor')} as in the base`);
  // In version 2 a tensor's strategy is an operation, chosen for it: nothing was asked for that it could differ from.
  const other = changed.filter(({ strategy, requested, reason }) => (version === 1 ? strategy !== requested : reason));
  for (const { name, strategy, requested, reason } of other) lines.push(printable(`${name}: ${strategy} instead of ${requested}${reason ? `: ${reason}` : ''}`));
  return [...lines, ...findingLines(findings)];
}

/**
 * @param {T.DecodeReport} report
 * @param {{ deltas: number, verified: boolean, sideFiles?: boolean }} asked how many deltas, and what was wanted
 */
export function decodeLines({ outputs = [], files, bytes, tensors, findings }, { deltas, verified, sideFiles }) {
  return [
    ...outputs.map((path, i) => printable(`${shown(path)}: ${formatBytes(files[i]?.size ?? bytes)}`)),
    `${plural(tensors, 'tensor')}, ${formatBytes(bytes)}; ${plural(deltas, 'delta')} ${verified ? 'verified' : 'not verified'}`,
    ...sideFileLines(sideFiles, files),
    ...findingLines(findings),
  ];
}

/**
 * @param {T.VerifyReport} report
 * @param {string[]} names of the deltas
 */
export function verifyLines({ deltas, findings }, names) {
  return [
    ...deltas.map(({ index, bytes, checksum, tensors, base }) =>
      printable(`${names[index]}: ${formatBytes(bytes)}, ${plural(tensors, 'tensor')}, checksum ${checksum}, base ${base}`),
    ),
    ...findingLines(findings),
  ];
}

/**
 * @param {T.Lineage} report
 * @param {string[]} names of the deltas
 * @param {number} width
 */
export function lineageLines({ order, links, findings }, names, width) {
  const rows = [...links].sort((a, b) => order.indexOf(a.index) - order.indexOf(b.index));
  const lines = table(
    rows,
    [
      { head: 'delta', cell: ({ index }) => names[index] },
      { head: 'made against', cell: ({ parent }) => (parent === null ? 'unknown' : parent === 'base' ? 'the base' : names[parent]), left: true },
      { head: 'link', cell: ({ state }) => state, left: true },
    ],
    width,
  );
  for (const { index, state, expected, found, reason } of rows) {
    if (state !== 'broken') continue;
    lines.push(printable(`${names[index]}: ${reason ?? 'does not follow'}; expected ${expected}${found ? `, found ${found}` : ''}`));
  }
  return [...lines, ...findingLines(findings)];
}

/** @type {Column[]} */
const STATS_COLUMNS = [
  { head: 'tensor', cell: ({ name }) => name },
  { head: 'rms', cell: ({ rms }) => formatNumber(rms) },
  { head: 'to base', cell: ({ relative }) => formatNumber(relative) },
  { head: 'min', cell: ({ min }) => formatNumber(min) },
  { head: 'max', cell: ({ max }) => formatNumber(max) },
  { head: 'zeros', cell: ({ zeros, elements }) => percent(zeros / elements) },
  { head: 'outliers', cell: ({ outliers }) => percent(outliers?.share) },
  { head: 'strategy', cell: ({ strategy }) => strategy, left: true },
];

/**
 * @param {T.TensorStats[]} rows
 * @param {number} width
 */
export const statsLines = (rows, width) => table(rows, STATS_COLUMNS, width);

/** @type {Column[]} */
const DIFF_COLUMNS = [
  { head: 'tensor', cell: ({ name }) => name },
  { head: 'relative', cell: ({ relative }) => formatNumber(relative) },
  { head: 'equal', cell: ({ equal, elements }) => percent(equal / elements) },
  { head: 'cosine', cell: ({ cosine }) => formatNumber(cosine) },
  { head: 'distance', cell: ({ distance }) => formatNumber(distance) },
];

/**
 * @param {T.DiffReport} report
 * @param {string[]} names of both sides
 * @param {number} width
 */
export function diffLines({ onlyA, onlyB, changed, tensors, totals }, [a, b], width) {
  const different = tensors.filter(({ distance, equal, elements }) => distance || equal < elements);
  different.sort((one, two) => Number(two.relative) - Number(one.relative));
  return [
    ...onlyA.map((name) => printable(`${name}: only in ${a}`)),
    ...onlyB.map((name) => printable(`${name}: only in ${b}`)),
    ...changed.map(({ name, what, a, b }) => printable(`${name}: other ${what}: ${a} and ${b}`)),
    ...(different.length ? table(different, DIFF_COLUMNS, width) : []),
    `${plural(tensors.length - different.length, 'tensor')} equal, ${different.length} different; relative distance ${formatNumber(totals.relative)}, cosine ${formatNumber(totals.cosine)}`,
  ];
}

/** @param {T.HashReport} report */
export function hashLines({ sorted, grouped, agree }) {
  if (agree) return [`${sorted}  sorted names, and shard groups`];
  return [`${sorted}  sorted names`, `${grouped}  shard groups`];
}
