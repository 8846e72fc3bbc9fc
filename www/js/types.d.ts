// Shapes shared by the page's modules. Results of the package are described as far as the page reads them.

/** What an element may hold; lists may hold lists. */
export type Child = Node | string | number | null | undefined | false | Child[]

export type View = 'inspect' | 'compare' | 'lineage' | 'rebuild' | 'make'
export type Severity = 'error' | 'warning' | 'note'

export interface Finding { severity: Severity, code: string, message: string, tensor?: string }
export interface RecordPlace { field: string, dtype: string, offset: number, length: number, elements: number }
export interface Place { offset: number, length: number }
export interface Group { layer: number | null, expert: number | null, role: string }
export interface TensorInfo {
  name: string, dtype: string, shape: number[], elements: number, strategy: string, bytes: number
  options?: Record<string, string>, group: Group, records: RecordPlace[]
  /** In version 2. */
  lossless?: boolean, loss?: { relativeError: number }
}
export interface Inspection {
  version: number, strategy: string, bytes: number, baseHash: string, baseName?: string, elements: number
  layout: { header: Place, payload: Place, checksum: Place, /** version 2: tables that tensors share */ sets?: Place[] }
  tensors: TensorInfo[], findings: Finding[]
  /** Where a delta of version 2 loses something: its error relative to what it changes. */
  loss?: { relativeError: number }
}
export interface Stats {
  name: string, elements: number, strategy: string, zeros: number, mean: number, rms: number, min: number, max: number
  norm: number, baseNorm?: number, relative?: number
  histogram: { lo: number, hi: number, counts: number[] }
  rows: { rms: number[], per: number }
  outliers: { count: number, share: number }
}
export interface Plan {
  job: string, bytes: number, exact: boolean, outputs: { path: string, size: number }[], problems: Finding[]
  reads: number, writes: number, tensors: number, elements: number
  /** where `bytes` is an estimate: the share of the fine-tune it was told from, `null` where none could be made */
  sample?: number | null
}
export interface EncodedTensor {
  name: string, shape: number[], elements: number, strategy: string, requested: string, reason?: string
  bytes: number, unchanged: number, relativeError: number | null, largestError: number | null
}
export interface EncodeResult {
  version: number
  bytes: number, finetunedBytes: number, elements: number, baseHash: string, strategy: string, relativeError: number | null
  tensors: EncodedTensor[], findings: Finding[]
}
export interface DecodeResult { bytes: number, dtype: string, files: { path: string, size: number }[], tensors: number, links: unknown[], findings: Finding[] }
export interface VerifyResult { deltas: { index: number, bytes: number, checksum: string, tensors: number, baseHash: string, base: string }[], findings: Finding[] }
export interface Link { index: number, parent: 'base' | number | null, state: 'verified' | 'not checked' | 'broken', expected: string, found?: string, reason?: string }
export interface Lineage { ok: boolean, order: number[], links: Link[], findings: Finding[] }
export interface DiffTensor { name: string, elements: number, equal: number, distance: number, relative: number | null, cosine: number | null }
export interface Diff {
  kind: 'models' | 'deltas', onlyA: string[], onlyB: string[], changed: { name: string, a: string, b: string, what: string }[]
  tensors: DiffTensor[], totals: { distance: number, relative: number | null, cosine: number | null }
}
export interface Progress { phase: string, tensor?: string, done: number, total: number, bytesPerSecond?: number | null, etaSeconds?: number | null, memory?: number }

/** What the package accepts as a file: a Blob, a handle, several files of one model, or an address. */
export type Source = Blob | File[] | FileSystemFileHandle | string

/** An error in the page's own words: what `WdeltaError` says, or what took its place. */
export interface Problem { code: string, message: string, tensor?: string, offset?: number, source?: string, retryable?: boolean, detail?: string }

/** What a file is used as. */
export type EntryRole = 'delta' | 'base' | 'finetuned' | 'spare' | 'unknown'

/** One thing in the tray: a delta, a model (one file or several), or a file that is neither. */
export interface Entry {
  id: string, name: string, role: EntryRole, size: number, source: Source, files: number
  state: 'reading' | 'ready' | 'failed'
  /** what is being read now, in words */
  reading?: string
  info?: Inspection, problem?: Problem, sample?: boolean
  /** errors per tensor, known when this page has made the delta */
  made?: EncodeResult
}

/** A row of the tensor table and a part of a map cell. */
export interface Row {
  name: string, key: string, shape: number[], dtype: string, elements: number, strategy: string, bytes: number, group: Group
  options?: Record<string, string>, records: RecordPlace[], findings: Finding[]
  /** error relative to the change, where the file says it */
  loss?: number
  stats?: Stats, error?: EncodedTensor, b?: Row, diff?: DiffTensor, side?: 'a' | 'b'
}

export type JobKind = 'rebuild' | 'make' | 'measure' | 'tensor' | 'verify' | 'lineage' | 'diff' | 'fetch'
export interface Job {
  id: string, kind: JobKind, title: string, state: 'running' | 'cancelling' | 'done' | 'failed' | 'cancelled'
  phase: string, tensor?: string, done: number, total: number, rate?: number | null, eta?: number | null, memory?: number
  started: number, ended?: number, problem?: Problem
}

/** An output that can be saved again. */
export interface Saved { kind: 'rebuild' | 'make', title: string, files: { name: string, size: number, blob?: Blob }[], where: string, copy?: string, report: object, seconds: number, result: unknown }

export interface Prefs { theme: 'auto' | 'light' | 'dark', dense: boolean, singleKeys: boolean, hidden: string[] }

export interface Destination { id: 'picker' | 'private' | 'memory', label: string, note: string, available: boolean }

export interface State {
  view: View, tensor: string | null, entries: Entry[], active: string | null
  /** rejected files and other remarks above the view, newest last */
  notices: { id: string, problem?: Problem, text?: string, action?: string }[]
  job: Job | null
  /** counts up whenever statistics were added to rows */
  revision: number
  /** "delta:base" or "delta" to what a check found: how many deltas lead from the base to the end of this one, itself included */
  checks: Map<string, number | Problem>
  filter: string, cell: string | null, open: string | null, brush: [number, number], measure: string, log: boolean | null, logCounts: boolean, picture: 'map' | 'area' | 'depth'
  sort: { column: string, descending: boolean }, group: string, closed: string[]
  compare: { a: string | null, b: string | null, side: 'a' | 'b' | 'difference', diff: { key: string, result: Diff } | null }
  lineage: { key: string, result: Lineage } | null
  chain: string[]
  rebuild: { dtype: 'base' | 'float32', layout: 'auto' | 'single', name: string }
  make: { against: 'base' | 'chain', strategy: string, outlierFraction: string, sparsity: string, quality: string, ratio: string, baseName: string, name: string }
  /** where results go, if the user has chosen */
  to: string
  plans: Map<string, Plan | Problem | null>
  saved: Saved[]
  privateCopies: { name: string, files: { name: string, size: number }[], size: number }[]
  prefs: Prefs
}
