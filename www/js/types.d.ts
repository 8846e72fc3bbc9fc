// Shapes shared by the page's modules. Those of the package are its own; the build puts it beside the page, as pkg.

/** What an element may hold; lists may hold lists. */
export type Child = Node | string | number | null | undefined | false | Child[]

export type View = 'inspect' | 'compare' | 'lineage' | 'rebuild' | 'make'

export type { DecodeReport, DiffReport, EncodeReport, EncodedTensor, Finding, InspectedTensor, Inspection, Lineage, StatsOptions, TensorStats } from '../pkg/index.js'
import type { DiffReport, EncodeOptions, EncodeReport, EncodedTensor, Finding, Group, InspectedTensor, Inspection, Lineage, Plan as PackagePlan, ProgressEvent, TensorStats } from '../pkg/index.js'

export type Strategy = NonNullable<EncodeOptions['strategy']>
export type RecordPlace = InspectedTensor['records'][number]
export type Link = Lineage['links'][number]
export type DiffTensor = DiffReport['tensors'][number]
export interface Plan extends PackagePlan {
  /** where `bytes` is an estimate: the share of the fine-tune it was told from, `null` where none could be made */
  sample?: number | null
}
/** What is told of work under way, the page's own included. */
export type Progress = Pick<ProgressEvent, 'phase' | 'done' | 'total'> & Partial<ProgressEvent>

/** What the package accepts as a file: a Blob, a handle, several files of one model, or an address. */
export type Source = Blob | File[] | FileSystemFileHandle | string

/** A delta is always one file. */
export type DeltaSource = Exclude<Source, File[]>

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
  made?: EncodeReport
}

/** A row of the tensor table and a part of a map cell. */
export interface Row {
  name: string, key: string, shape: number[], dtype: string, elements: number, strategy: string, bytes: number
  group: Group
  options?: Record<string, string>, records: RecordPlace[], findings: Finding[]
  /** error relative to the change, where the file says it */
  loss?: number
  stats?: TensorStats, error?: EncodedTensor, b?: Row, diff?: DiffTensor, side?: 'a' | 'b'
}

export type JobKind = 'rebuild' | 'make' | 'measure' | 'tensor' | 'verify' | 'lineage' | 'diff' | 'fetch'
export interface Job {
  id: string, kind: JobKind, title: string, state: 'running' | 'cancelling' | 'done' | 'failed' | 'cancelled'
  phase: string, tensor?: string, done: number
  /** of the work that is done, where that is known */
  share: number | null, rate?: number | null, eta?: number | null, memory?: number
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
  /** as chosen, the last one first: a view takes the first that it has */
  measure: string[]
  filter: string, cell: string | null, open: string | null, brush: [number, number], log: boolean | null, logCounts: boolean, picture: 'map' | 'area' | 'depth'
  sort: { column: string, descending: boolean }, group: string, closed: string[]
  compare: { a: string | null, b: string | null, side: 'a' | 'b' | 'difference', diff: { key: string, result: DiffReport } | null }
  lineage: { key: string, result: Lineage } | null
  chain: string[]
  /** `next` is the delta that would be added to the chain */
  rebuild: { dtype: 'base' | 'float32', layout: 'auto' | 'single', name: string, next: string }
  make: { against: 'base' | 'chain', strategy: Strategy, outlierFraction: string, sparsity: string, quality: string, ratio: string, baseName: string, name: string }
  /** where results go, if the user has chosen */
  to: string
  plans: Map<string, Plan | Problem | null>
  saved: Saved[]
  privateCopies: { name: string, files: { name: string, size: number }[], size: number }[]
  prefs: Prefs
}
