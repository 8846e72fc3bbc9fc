/// <reference lib="esnext.disposable" />

/**
 * Types that several files share, and the shapes of everything that the package takes and gives.
 * Sizes, offsets and lengths are bytes; hashes are lower-case hex.
 */

/** Bytes with a buffer of their own, as a `Blob` takes them: `Uint8Array<ArrayBuffer>`, which TypeScript can say from 5.7 on. */
export type Bytes = ReturnType<Uint8ArrayConstructor['from']>;

/** The stable codes of `WdeltaError`; `errorCodes()` gives each with its meaning. */
export type ErrorCode =
  | 'NOT_WDELTA' | 'UNSUPPORTED_VERSION' | 'TRUNCATED' | 'CHECKSUM' | 'MALFORMED' | 'WRONG_BASE' | 'BROKEN_CHAIN'
  | 'MISSING_TENSOR' | 'SHAPE_MISMATCH' | 'UNSUPPORTED_DTYPE' | 'NON_FINITE' | 'LIMIT' | 'NO_RANGES' | 'SOURCE_CHANGED'
  | 'USAGE' | 'IO' | 'ABORTED' | 'INTERNAL';

/** Where an error happened and whether the same call can succeed later. */
export interface ErrorDetails {
  tensor?: string;
  offset?: number;
  /** Name of the file or URL. */
  source?: string;
  retryable?: boolean;
  cause?: unknown;
}

/** What the core and the workers throw: data, not an `Error`. `sourceId` is the number of a source or output. */
export interface CoreError {
  code: ErrorCode;
  message: string;
  tensor?: string;
  offset?: number;
  sourceId?: number;
  source?: string;
  retryable?: boolean;
  cause?: unknown;
}

// ---- what the user gives ------------------------------------------------------------------------------------------

/** Anything that has a size and can be read at an offset. */
export interface SourceObject {
  /** Length in bytes. */
  size: number;
  /** Shown in errors; also the file's name inside a model when `path` is missing. */
  name?: string;
  /** Path inside the model's folder, with `/`. */
  path?: string;
  /** Gives exactly `length` bytes at `offset`: `into` filled, or bytes of its own. `into` is lent for the call only. */
  read(offset: number, length: number, into: Uint8Array): Uint8Array | Promise<Uint8Array>;
}

/** A `FileSystemFileHandle`, described here since projects for Node know no such name. */
export interface FileHandle {
  readonly kind: 'file';
  readonly name: string;
  getFile(): Promise<Blob>;
}

/** A `FileSystemDirectoryHandle`. */
export interface FolderHandle {
  readonly kind: 'directory';
  readonly name: string;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FileHandle>;
}

/** A `FileList`. */
export interface Files {
  readonly length: number;
  item(index: number): Blob | null;
}

/** One file: a path or `file:` URL (Node), an http(s) URL or Request, a Blob, a handle, bytes, or an object. */
export type FileInput =
  | string | URL | Request | Blob | FileHandle | ArrayBuffer | ArrayBufferView | SourceObject;

/** A model: one file, its files as a list, or the folder that holds them (a path in Node). */
export type ModelInput = FileInput | FolderHandle | Files | readonly FileInput[];

/** Takes a finished, verified output from front to back, then `close`; `abort` when the job fails. */
export interface SinkObject {
  /** `bytes` belongs to the receiver. */
  write(offset: number, bytes: Bytes): unknown;
  close(): unknown;
  abort?(reason?: unknown): unknown;
}

/** Where a result goes; without one it comes back as bytes. */
export type OutputTarget = string | URL | FileHandle | FolderHandle | WritableStream | SinkObject;

/** At most ten a second; `done` and `total` never go back, and `total` is 0 until the plan is made. */
export interface ProgressEvent {
  phase: string;
  tensor?: string;
  done: number;
  total: number;
  /** Over the last ten seconds; null in the first. */
  bytesPerSecond: number | null;
  etaSeconds: number | null;
  /** Bytes that the call holds now: the core's memory in every thread, buffers on their way, results kept in memory. */
  memory: number;
}

/** What every call takes. */
export interface CallOptions {
  signal?: AbortSignal;
  onProgress?: (event: ProgressEvent) => void;
  /** Number of workers; 0 runs everything in the calling thread. Default: the number of cores in Node, one
   * less in browsers (one is left to the page), at most 8; none for tiny jobs. Unused workers end after ten seconds. */
  workers?: number;
  /** Lets a URL whose server has no range requests be fetched whole. */
  allowFullRead?: boolean;
}

/** What calls with an output take. */
export interface OutputOptions extends CallOptions {
  output?: OutputTarget;
  /** Replaces what is already there. */
  force?: boolean;
}

export interface EncodeOptions extends OutputOptions {
  base: ModelInput;
  finetuned: ModelInput;
  /** Deltas that lead from `base` to what the new delta is made against, in order. */
  parents?: readonly FileInput[];
  /** `lossless` by default; with `reference: true`, `int4`. */
  strategy?: 'lossless' | 'lossy' | 'int4' | 'sparse' | 'quantized';
  /** Of `lossless` and `lossy`: how much is tried, 0 to 3; 2 by default. */
  effort?: number | string;
  /** Of `lossless` and `lossy`: whether a low-rank prediction is tried; `auto` by default. */
  lowRank?: 'auto' | 'off';
  /** Of `lossy`: 1 (smallest) to 100 (loses nothing); 50 by default. */
  quality?: number | string;
  /** Of `lossy`, instead of a quality: how many times smaller than the fine-tune the delta is to be. */
  ratio?: number | string;
  outlierFraction?: number | string;
  sparsity?: number | string;
  reference?: boolean;
  baseName?: string;
  hashOrder?: 'memory' | 'paths';
}

export interface DecodeOptions extends OutputOptions {
  base: ModelInput;
  /** The chain in order. */
  deltas: FileInput | readonly FileInput[];
  dtype?: 'base' | 'float32';
  verify?: boolean;
  sideFiles?: boolean;
  layout?: 'auto' | 'single';
}

export interface ChainOptions extends CallOptions {
  deltas: FileInput | readonly FileInput[];
  base?: ModelInput;
}

export interface TensorsOptions extends CallOptions {
  base?: ModelInput;
  deltas?: FileInput | readonly FileInput[];
  names?: readonly string[];
  /** Half-open range of first-dimension rows. */
  rows?: readonly [number, number];
  as?: 'stored' | 'float32';
}

export interface StatsOptions extends ChainOptions {
  names?: readonly string[];
  bins?: number;
}

export interface DiffOptions extends CallOptions {
  a: ModelInput;
  b: ModelInput;
  base?: ModelInput;
}

export interface HashOptions extends CallOptions {
  model: ModelInput;
  as?: 'stored' | 'float32';
}

export type PlanOptions =
  | ({ job: 'encode' } & EncodeOptions) | ({ job: 'decode' } & DecodeOptions) | ({ job: 'verify' } & ChainOptions)
  | ({ job: 'diff' } & DiffOptions) | ({ job: 'hash' } & HashOptions);

export interface InitOptions {
  /** URL, bytes or `WebAssembly.Module` of `wdelta_bg.wasm`, or of `wdelta_read.wasm`, which does all but `encode` in two thirds of the bytes. */
  module?: string | URL | Request | ArrayBuffer | ArrayBufferView | object;
  /** The same of `wdelta_bg.wasm`, beside `wdelta_read.wasm` as `module`: workers load it with the first `encode`. */
  encoder?: string | URL | Request | ArrayBuffer | ArrayBufferView | object;
  /** Makes a worker that runs the package's `worker.js` (in Node `worker-node.js`). */
  createWorker?: () => any;
}

// ---- what the user gets -------------------------------------------------------------------------------------------

export interface Finding { severity: 'error' | 'warning' | 'note'; code: string; message: string; tensor?: string }
export interface OutputFile { path: string; size: number }
export interface Extent { offset: number; length: number }

export interface Plan {
  job: string;
  /** Size of all outputs. */
  bytes: number;
  /** Whether that is certain; else it is a guess, as it follows from the values. */
  exact: boolean;
  outputs: OutputFile[];
  problems: Finding[];
  reads: number;
  writes: number;
  tensors: number;
  elements: number;
}

export interface TensorRecord { field: string; dtype: string; offset: number; length: number; elements: number }
/** What a lossy delta of version 2 loses: `error` is the norm of what is rebuilt less the fine-tune, `change` that of the fine-tune less the base. */
export interface Loss {
  /** `error / change`. */
  relativeError: number;
  largestError: number;
  error: number;
  change: number;
  /** Scalar product of the two. */
  product: number;
}
export interface InspectedTensor {
  name: string;
  dtype: string;
  shape: number[];
  elements: number;
  strategy: string;
  bytes: number;
  /** In version 2. */
  lossless?: boolean;
  /** Of a dithered tensor, with its step in units of its rows' mean change. */
  loss?: Loss & { step: number };
  options: Record<string, string>;
  records: TensorRecord[];
}
export interface Inspection {
  version: number;
  strategy: string;
  bytes: number;
  baseHash: string;
  baseName?: string;
  elements: number;
  /** In version 2. */
  lossless?: boolean;
  loss?: Loss;
  layout: { header: Extent; payload: Extent; checksum: Extent; sets?: Extent[] };
  tensors: InspectedTensor[];
  findings: Finding[];
}

/** What a tensor's name says by itself. */
export interface Place {
  /** What is said of its layer beside the number; none where it is in no layer. */
  words: string[] | null;
  /** Of the layer, or of its stage and its own with a dot between them. */
  number: string;
  expert: number | null;
  role: string;
}
/** Where a tensor stands in its model. */
export interface Group {
  /** Its number, with what tells its stack from others: `7`, `1.0` (of a stage), `decoder 7`. */
  layer: string | null;
  expert: number | null;
  /** What it does there, such as `self_attn.q_proj`; the same for all layers. */
  role: string;
}

/** Where the outputs went. */
export interface Written {
  /** The file, when there was no `output` and it is one. */
  data?: Bytes;
  /** Full paths of the files that were written (Node). */
  outputs?: string[];
}

export interface EncodedTensor {
  name: string;
  dtype: string;
  shape: number[];
  elements: number;
  strategy: string;
  requested: string;
  reason?: string;
  bytes: number;
  /** Elements that are the base's own. */
  unchanged: number;
  /** Both null where `reference` let NaN or infinity spread. */
  relativeError: number | null;
  largestError: number | null;
}
export interface EncodeReport extends Written {
  job: 'encode';
  version: number;
  strategy: string;
  bytes: number;
  finetunedBytes: number;
  elements: number;
  baseHash: string;
  relativeError: number | null;
  tensors: EncodedTensor[];
  findings: Finding[];
}

export interface DecodeReport extends Written {
  job: 'decode';
  bytes: number;
  dtype: string;
  /** With `data` when there was no `output` and the result has several files. */
  files: (OutputFile & { data?: Bytes })[];
  tensors: number;
  links: { index: number; expected: string; order: string; verified: boolean }[];
  findings: Finding[];
}

export interface VerifyReport {
  ok: true;
  version: number;
  deltas: {
    index: number;
    bytes: number;
    checksum: 'ok';
    tensors: number;
    baseHash: string;
    base: 'verified' | 'not checked';
    /** In version 2. */
    lossless?: boolean;
    loss?: Loss;
  }[];
  findings: Finding[];
}

export interface Lineage {
  ok: boolean;
  order: number[];
  links: {
    index: number;
    parent: 'base' | number | null;
    state: 'verified' | 'not checked' | 'broken';
    expected: string;
    found?: string;
    reason?: string;
  }[];
  findings: Finding[];
}

export interface TensorPiece {
  name: string;
  dtype: string;
  shape: number[];
  /** Half-open range of rows that `data` holds. */
  rows: [number, number];
  bytes: number;
  /** The caller's own: `Float32Array` with `as: 'float32'`, else the stored bytes. */
  data: Bytes | ReturnType<Float32ArrayConstructor['from']>;
}

export interface TensorStats {
  name: string;
  dtype: string;
  shape: number[];
  elements: number;
  strategy: string;
  /** Of the low-rank prediction that a version 2 delta has for it, if it has one. */
  rank?: number;
  zeros: number;
  /** Values that are NaN or infinite; everything else is about the others. */
  nonFinite: number;
  mean: number;
  rms: number;
  min: number;
  max: number;
  norm: number;
  baseNorm?: number;
  relative?: number;
  histogram: { lo: number; hi: number; counts: number[] };
  rows: { rms: number[]; per: number };
  outliers: { count: number; share: number };
  /** Of `int4`: its sixteen values lie at `zeroPoint + q * scale`. */
  levels?: { scale: number; zeroPoint: number };
}

export interface Likeness {
  elements: number;
  equal: number;
  /** Norm of the difference. */
  distance: number;
  /** `distance` over the norm of `a`; null where that is 0. */
  relative: number | null;
  /** null where a norm is 0. */
  cosine: number | null;
}
export interface DiffReport {
  kind: 'models' | 'deltas';
  onlyA: string[];
  onlyB: string[];
  changed: { name: string; a: string; b: string; what: 'shape' | 'dtype' | 'strategy' }[];
  tensors: ({ name: string } & Likeness)[];
  totals: Likeness;
}

export interface HashReport { as: string; tensors: number; bytes: number; sorted: string; grouped: string; agree: boolean }

// ---- between the files of the package -----------------------------------------------------------------------------

/** How a worker can reach a file without asking: a descriptor that the main thread keeps open, or a Blob. */
export type Port = { fd: number } | { blob: Blob } | undefined;

/** An opened file. */
export interface Source {
  /** Path inside the model, or the file's own name. */
  path: string;
  /** Shown to the user. */
  name: string;
  size: number;
  /** The whole content, where it is in memory. */
  bytes?: Uint8Array;
  /** Fills `into` from `offset`, or throws. */
  read(offset: number, into: Uint8Array): Promise<void> | void;
  port?(): Port;
  /** Throws `SOURCE_CHANGED` if the file is not what it was when it was opened. */
  check?(): Promise<void>;
  close?(): Promise<void>;
}

/** A place to write to at any position and to read back from. */
export interface Spool {
  /** Its whole content, where it is in memory. */
  bytes?: Uint8Array;
  /** May give the bytes back in another view. */
  write(offset: number, bytes: Uint8Array): Promise<Uint8Array | void> | void;
  read(offset: number, into: Uint8Array): Promise<void> | void;
  port?(): Port;
  /** Closes it and gives back its room. */
  close(): Promise<void>;
}

export interface Output extends Spool { name: string; size: number; resize?: (size: number) => Promise<void> }

/** Where a job's outputs go: `check` before the work, `create`, then `commit` or `abort`. */
export interface Sink {
  /** Throws if the outputs cannot go there. */
  check(outputs: OutputFile[]): Promise<void>;
  create(outputs: OutputFile[]): Promise<Output[]>;
  /** Makes the outputs visible; gives what the report says about them. */
  commit(signal: AbortSignal | undefined, wrote: (bytes: number) => void): Promise<Partial<DecodeReport>>;
  /** Leaves nothing behind. */
  abort(reason: unknown): Promise<void>;
  /** True if `commit` copies every byte once more. */
  copies: boolean;
}

export interface Transfer { file: number; offset: number; len: number; at: number }
export interface Task { label: string; phase: string; cost: number; spec: Uint8Array }
export type Step =
  | { kind: 'need'; transfers: Transfer[] }
  | { kind: 'ready'; transfers: Transfer[] }
  | { kind: 'hash'; lanes: number[]; at: number; len: number }
  | { kind: 'digest'; lane: number }
  | { kind: 'plan'; json: string }
  | { kind: 'create'; outputs: OutputFile[] }
  | { kind: 'resize'; file: number; size: number }
  | { kind: 'start'; tasks: Task[] }
  | { kind: 'collect' }
  | { kind: 'item'; json: string; at?: number; len?: number }
  | { kind: 'done'; report: Bytes };

/** A step as its owner gets it, from whichever thread. */
export type OwnStep =
  | Extract<Step, { kind: 'create' | 'resize' | 'start' | 'collect' }>
  | { kind: 'plan' | 'item' | 'done'; value: any; data?: Uint8Array };

/** A whole job, here or in a worker. The owner answers a step before it asks for the next one. */
export interface JobRun extends Pick<Machine, 'putReports' | 'putSize'> {
  steps(): AsyncGenerator<OwnStep, void, void>;
}

/** The core's state machine. */
export interface Machine {
  step(): Step;
  putDigest(digest: Uint8Array): void;
  putReports(reports: Uint8Array[]): void;
  putSize(source: number, size: number): void;
  free(): void;
}

export interface Hasher { update(at: number, len: number): void; digest(): Uint8Array }

/** What a machine runs against. A promise is waited for; nothing means that it is done. */
export interface Host {
  read(transfers: Transfer[]): Promise<unknown> | void;
  write(transfers: Transfer[]): Promise<unknown> | void;
  hasher(): Hasher;
  /** Called after each step: throws when the job was aborted, gives a promise when others should have a turn. */
  pause?(): Promise<void> | void;
}

/** A worker, the same for browsers and Node. */
export interface Link {
  post(message: unknown, transfer?: any[]): void;
  listen(receive: (message: any) => void, fail: (reason: unknown) => void): void;
  /** Resolves when no code of the worker runs any more. */
  end(): Promise<unknown> | void;
  /** Whether the worker keeps the process alive. */
  hold(busy: boolean): void;
}

/** What differs between browsers and Node. */
export interface Platform {
  /** How many workers are worth having. */
  workers: number;
  /** Work below this many bytes is done before a worker has started. */
  tiny: number;
  /** Whether the calling thread has more to do than to wait. */
  paints: boolean;
  createWorker(): any;
  connect(worker: any): Link;
  spool?(size: number): Promise<Spool>;
  openPath?(path: string | URL): Promise<Source[]>;
  pathSink?(path: string | URL, force: boolean, fallback: string): Sink;
}
