/**
 * What the calling thread and its workers ask each other over a `Channel`. The core and its options are opaque here;
 * `bytes` and `into` go to the other side with the question and come back with the answer.
 */

import type { Bytes, Port } from './types.js';

/** A range of a file; sources count from 0, outputs after them. */
export interface RangeRequest {
  file: number;
  offset: number;
  into: Uint8Array;
}

/** The answers to a led job's last step. */
export interface StepAnswers {
  sizes?: [source: number, size: number][];
  reports?: Uint8Array[];
}

/** About a file of the origin-private file system, by the number that `open` gave it. */
export type SpoolQuestion =
  | { type: 'open'; spool: number; folder: string; name: string }
  | { type: 'write' | 'read'; spool: number; offset: number; bytes: Uint8Array }
  | { type: 'close'; spool: number; keep: boolean };

/** What a worker is told about a job before it is asked to do something for it. */
export interface JobQuestion {
  type: 'job';
  /** How many of the files are sources. */
  sources: number;
  names: string[];
  ports: Port[];
  sizes: Float64Array;
}

/** What a worker answers. */
export type WorkerQuestion =
  | { type: 'init'; module: WebAssembly.Module }
  | JobQuestion
  /** The answer is the task's report. */
  | { type: 'task'; spec: Uint8Array }
  | { type: 'lead'; kind: string; options: object; list: object[] }
  /** The answer is a list of steps, of which only the last can be anything but an item. */
  | ({ type: 'next' } & StepAnswers)
  | SpoolQuestion;

/** What the calling thread answers. */
export type HostQuestion =
  /** Bytes done since the last word, and bytes of memory that the worker holds. No answer. */
  | { type: 'progress'; bytes: number; memory: number }
  /** A part of a long list of the step that comes next. No answer. */
  | { type: 'part'; key: string; list: unknown[] }
  /** `file` counts outputs from 0. */
  | { type: 'write'; file: number; offset: number; bytes: Bytes }
  | { type: 'read'; ranges: RangeRequest[] };

/** What the other side gets for a question: nothing, or a reply with the buffers that go with it. */
export type Answer = { reply?: unknown; transfer?: Transferable[] } | void;
