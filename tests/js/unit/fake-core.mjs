// Stands in for the compiled core: the same interface, with jobs that only move bytes. Its memory grows at every
// allocation, so that a view that was not taken again has length 0.
import { createHash } from 'node:crypto';

let memory;
let top;
let instance = 0;

export function initSync() {
  if (!memory) __wbg_reset_state();
}

export function __wbg_reset_state() {
  instance++;
  memory = new WebAssembly.Memory({ initial: 1 });
  top = 0;
}

export const wasmMemory = () => memory;
export const version = () => '0.0.0-fake';
export const errorCodes = () => [{ code: 'IO', meaning: 'reading or writing failed' }];

function alloc(len) {
  const at = top;
  top += len;
  memory.grow(Math.ceil(len / 65536) + 1);
  return at;
}

export class Sha256 {
  #hash = createHash('sha256');
  update(at, len) {
    this.#hash.update(new Uint8Array(memory.buffer, at, len));
  }
  digest() {
    return new Uint8Array(this.#hash.digest());
  }
}

/** Machines that were not freed. */
export let alive = 0;

export class Machine {
  static job(kind, options, sources) {
    return new Machine(JOBS[kind], { options, sources, kind });
  }
  static task(spec, sizes) {
    return new Machine(copyTask, { ...JSON.parse(Buffer.from(spec)), sizes });
  }
  constructor(make, context) {
    alive++;
    this.instance = instance;
    this.context = context;
    this.steps = make(context, this);
  }
  step() {
    if (this.instance !== instance) throw new Error('machine of another instance');
    const { value } = this.steps.next();
    return value;
  }
  putDigest(digest) {
    this.digest = digest;
  }
  putReports(reports) {
    this.reports = reports;
  }
  putSize(source, size) {
    this.context.sizes ??= {};
    this.context.sizes[source] = size;
  }
  free() {
    if (this.instance !== instance) throw new Error('free of a machine of another instance');
    alive--;
  }
}

const CHUNK = 1 << 16;

/** JSON as bytes. */
const encode = (value) => new TextEncoder().encode(JSON.stringify(value));

/** Copies part of a source to an output; `mode` makes it go wrong. */
function* copyTask({ file, sink, start, end, mode }) {
  const at = alloc(CHUNK);
  for (let offset = start; offset < end || mode === 'endless'; offset += CHUNK) {
    if (mode === 'endless') offset = start;
    if (mode === 'panic') throw new WebAssembly.RuntimeError('unreachable');
    if (mode === 'bad' || mode === 'late') throw { code: 'MALFORMED', message: 'record 3 is damaged', tensor: 'w', offset: 7, sourceId: file };
    const len = Math.min(CHUNK, end - offset);
    yield { kind: 'need', transfers: [{ file, offset, len, at }] };
    alloc(1);
    yield { kind: 'ready', transfers: [{ file: sink, offset, len, at }] };
  }
  yield { kind: 'done', report: encode([start, end]) };
}

/** Copies the base to the outputs, in tasks of two chunks, reads it back and hashes it. `dtype` says what goes wrong. */
function* decode({ options, sources }, machine) {
  const base = sources.map((source, file) => ({ ...source, file })).filter(({ role }) => role === 'base');
  const single = base.length === 1;
  const outputs = base.map(({ path, size }) => ({ path: options.layout ?? (single ? '' : path), size }));
  const bytes = outputs.reduce((sum, { size }) => sum + size, 0);
  if (options.dtype === 'head') yield { kind: 'need', transfers: [{ file: 0, offset: 0, len: 8, at: alloc(8) }] };
  yield { kind: 'plan', json: JSON.stringify({ job: 'decode', bytes, outputs, reads: bytes, writes: bytes, problems: [] }) };
  yield { kind: 'create', outputs };
  const tasks = base.flatMap(({ file, size }, sink) =>
    Array.from({ length: Math.ceil(size / CHUNK / 2) }, (_, i) => {
      const start = i * 2 * CHUNK;
      const end = Math.min(size, start + 2 * CHUNK);
      const mode = i === (options.dtype === 'late' ? 4 : 1) ? options.dtype : undefined;
      return { label: `t${i}`, phase: 'copying', cost: end, spec: encode({ file, sink, start, end, mode }) };
    }),
  );
  // Two rounds on their way at once.
  const rounds = [tasks.slice(0, 3), tasks.slice(3)].filter(({ length }) => length);
  for (const round of rounds) yield { kind: 'start', tasks: round };
  const reports = [];
  for (const _ of rounds) {
    yield { kind: 'collect' };
    reports.push(...machine.reports);
  }
  const at = alloc(CHUNK);
  for (const [i, { size }] of outputs.entries()) {
    for (let offset = 0; offset < size; offset += CHUNK) {
      const len = Math.min(CHUNK, size - offset);
      yield { kind: 'need', transfers: [{ file: sources.length + i, offset, len, at }] };
      yield { kind: 'hash', lanes: [0, 1], at, len };
    }
  }
  yield { kind: 'digest', lane: 0 };
  const sha256 = Buffer.from(machine.digest).toString('hex');
  yield { kind: 'digest', lane: 2 };
  const nothing = Buffer.from(machine.digest).toString('hex');
  yield { kind: 'done', report: encode({ job: 'decode', options, bytes, sha256, nothing, reports: reports.map((report) => JSON.parse(String(Buffer.from(report)))), files: outputs }) };
}

/** Reads the first bytes of every source. A delta that is JSON is its own report. */
function* inspect({ sources, kind }) {
  const at = sources.map(({ size }) => alloc(Math.min(8, size)));
  const transfers = sources.map(({ size }, file) => ({ file, offset: 0, len: Math.min(8, size), at: at[file] })).filter(({ len }) => len);
  if (transfers.length) yield { kind: 'need', transfers };
  const heads = sources.map(({ size }, i) => Buffer.from(new Uint8Array(memory.buffer, at[i], Math.min(8, size))).toString());
  if (heads[0]?.startsWith('{')) {
    const { size } = sources[0];
    const all = alloc(size);
    yield { kind: 'need', transfers: [{ file: 0, offset: 0, len: size, at: all }] };
    yield { kind: 'done', report: new Uint8Array(memory.buffer, all, size).slice() };
  } else yield { kind: 'done', report: encode({ kind, sources, heads }) };
}

/** A piece of four bytes for each kilobyte of the base. */
function* tensors({ sources, options }) {
  const at = alloc(4);
  for (let offset = 0; offset + 4 <= sources[0].size; offset += 1024) {
    yield { kind: 'need', transfers: [{ file: 0, offset, len: 4, at }] };
    yield { kind: 'item', json: JSON.stringify({ name: `t${offset}`, dtype: options.as === 'float32' ? 'F32' : 'U8' }), at, len: 4 };
    new Uint8Array(memory.buffer, at, 4).fill(255);
  }
  yield { kind: 'done', report: encode({}) };
}

const JOBS = { decode, encode: decode, inspect, lineage: inspect, verify: inspect, hash: inspect, diff: inspect, tensors, stats: tensors };
