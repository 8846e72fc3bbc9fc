// @ts-check
// Files into the tray: recognized, grouped, given a role, and read as far as the header.

import { inspect } from '../api.js';
import { problemOf } from '../errors.js';
import { plain } from '../format.js';
import { isModel, readRows } from '../model/rows.js';
import { inOrder, modelKey, modelName } from './collect.js';
import { recognize } from './recognize.js';

/** @import { DeltaSource, Entry, EntryRole, Source, State } from '../types.js' */
/** @import { Store } from '../state.js' */
/** @import { Picked } from './collect.js' */

let numbered = 0;
export const newId = () => `f${++numbered}`;

/** Files beside a model that belong to it. */
const SIDE = /\.(json|txt|model|jinja)$/i;

/**
 * Takes files in. What is not a delta or model is reported, unless it merely lay beside one in a folder.
 * @param {Store} store
 * @param {Picked[]} files
 * @param {{ sample?: boolean, replace?: string }} [options] `replace` is the entry that the files stand in for
 */
export async function take(store, files, { sample = false, replace } = {}) {
  store.say('none');
  // The browser walks a folder in any order.
  if (files.some(({ path }) => path.includes('/'))) files = files.toSorted((a, b) => inOrder(a.path, b.path));
  let usable = false;
  /** Of a file that is known to be something else. @type {string | undefined} */
  let why;
  /** The first of them takes the other's place. */
  const instead = () => {
    usable = true;
    const old = store.state.entries.find(({ id }) => id === replace);
    replace = undefined;
    return old;
  };
  /** @type {Map<string, Picked[]>} */
  const models = new Map();
  /** Models of which a file is cut short. @type {string[]} */
  const cut = [];
  for (const picked of files) {
    if (SIDE.test(picked.path) && files.length > 1) continue;
    const loose = !picked.path.includes('/');
    try {
      if (loose && !replace && (await isOpen(store.state, picked.file))) {
        store.say('none', `${plain(picked.path)} is open already.`);
        usable = true;
        continue;
      }
      const found = await recognize(picked.file);
      if (found.kind === 'delta') addDelta(store, picked, sample, instead()?.id);
      else if (found.kind === 'model') models.set(modelKey(picked), [...(models.get(modelKey(picked)) ?? []), picked]);
      else if ('message' in found && (loose || found.code)) {
        addFailed(store, picked, { code: 'NOT_WDELTA', ...found }, instead()?.id);
        if (found.code === 'TRUNCATED') cut.push(modelKey(picked));
      } else if ('message' in found && found.known) why ||= `${plain(picked.path)}: ${found.message}`;
    } catch (error) {
      addFailed(store, picked, problemOf(error), instead()?.id);
    }
  }
  for (const [key, shards] of models) {
    if (cut.includes(key)) continue;
    const beside = key.endsWith('/')
      ? files.filter(({ path }) => SIDE.test(path) && path.slice(0, path.lastIndexOf('/') + 1) === key)
      : indexes(files, shards);
    addModel(
      store,
      modelName(shards),
      [...shards, ...beside].map(({ file }) => file),
      sample,
      instead(),
    );
  }
  if (files.length && !usable) store.say('none', why ?? 'No .wdelta or .safetensors file was found there.');
}

/**
 * Whether this very file is open. A model and its fine-tune have one name and one size, and from an archive one time as well.
 * @param {State} state @param {File} file
 */
async function isOpen({ entries }, file) {
  const { name, size, lastModified } = file;
  for (const { state, source } of entries) {
    const alike = state !== 'failed' && source instanceof File && source.name === name && source.size === size && source.lastModified === lastModified;
    if (alike && (await partsOf(source)) === (await partsOf(file))) return true;
  }
  return false;
}

/** Parts from all over a file, as a text. @param {File} file */
async function partsOf(file) {
  const starts = Array.from({ length: 64 }, (_, i) => Math.floor((file.size * i) / 64));
  return String(new Uint8Array(await new Blob(starts.map((at) => file.slice(at, at + 4096))).arrayBuffer()));
}

/** Index files that came loose together with loose shards. @param {Picked[]} files @param {Picked[]} shards */
const indexes = (files, shards) =>
  shards.length > 1 ? files.filter(({ path }) => /^[^/]*\.safetensors\.index\.json$/.test(path)) : [];

/**
 * @param {Store} store @param {{ file: Blob, path: string }} picked @param {boolean} [sample] @param {string} [replace]
 * @returns {string} the entry's number
 */
export function addDelta(store, { file, path }, sample = false, replace) {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return add(store, { name, role: 'delta', size: file.size, source: file, files: 1, sample }, replace);
}

/** @param {Store} store @param {string} name @param {File[]} files @param {boolean} sample @param {Entry} [old] that it replaces */
function addModel(store, name, files, sample, old) {
  const weights = files.filter((file) => !SIDE.test(file.name));
  const size = weights.reduce((sum, file) => sum + file.size, 0);
  const role = old && isModel(old) ? old.role : freeRole(store.state);
  const source = files.length === 1 ? files[0] : files;
  return add(store, { name, role, size, source, files: weights.length, sample }, old?.id);
}

/** @param {Store} store @param {string} url @param {string} name @param {number} size @param {boolean} delta */
export function addUrl(store, url, name, size, delta) {
  return add(store, { name, role: delta ? 'delta' : freeRole(store.state), size, source: url, files: 1 });
}

/** @param {Store} store @param {Picked} picked @param {import('../types.js').Problem} problem @param {string} [replace] */
function addFailed(store, { file, path }, problem, replace) {
  const entry = {
    id: newId(),
    name: path,
    role: /** @type {const} */ ('unknown'),
    size: file.size,
    source: file,
    files: 1,
    state: /** @type {const} */ ('failed'),
    problem,
  };
  store.dispatch({ type: 'add', entry, replace });
}

/** The first model is the base, the second the fine-tune. @param {State} state @returns {EntryRole} */
function freeRole({ entries }) {
  return (
    /** @type {const} */ (['base', 'finetuned']).find((role) => !entries.some((entry) => entry.role === role)) ??
    'spare'
  );
}

/** @param {Store} store @param {Omit<Entry, 'id' | 'state'>} values @param {string} [replace] */
function add(store, values, replace) {
  const id = newId();
  values = { ...values, ...distinct(store.state, values, replace) };
  const delta = values.role === 'delta';
  store.dispatch({
    type: 'add',
    entry: { ...values, id, state: delta ? 'reading' : 'ready', reading: delta ? 'reading header' : undefined },
    replace,
  });
  if (delta) void read(store, id, values.source);
  return id;
}

/**
 * Another name for what is called as something that is open: two models are often called the same.
 * @param {State} state @param {Omit<Entry, 'id' | 'state'>} values @param {string} [replace] @returns {Partial<Entry>}
 */
function distinct({ entries }, { name, role, source }, replace) {
  const taken = (/** @type {string} */ wanted) => entries.some((entry) => entry.id !== replace && entry.name === wanted);
  let own = name;
  for (let n = 2; taken(own); n++) own = name.replace(/(\.safetensors|\.wdelta)?$/i, ` (${n})$1`);
  if (own === name) return {};
  // The package calls a delta by its name, too; that of a model's file goes into what is made of it.
  return { name: own, source: role === 'delta' && source instanceof File ? new File([source], own) : source };
}

/** @param {Store} store @param {string} id @param {Source} source */
async function read(store, id, source) {
  try {
    // In a worker even when the header is small: thousands of tensors take longer than a frame to read.
    const info = await inspect(/** @type {DeltaSource} */ (source), { workers: 1 });
    await readRows(info);
    store.dispatch({ type: 'entry', id, values: { state: 'ready', info, reading: undefined } });
  } catch (error) {
    store.dispatch({ type: 'entry', id, values: { state: 'failed', problem: problemOf(error), reading: undefined } });
  }
}

/**
 * Reads the header again after a failure.
 * @param {Store} store @param {Entry} entry
 */
export function retry(store, { id, source }) {
  store.dispatch({ type: 'entry', id, values: { state: 'reading', reading: 'reading header', problem: undefined } });
  return read(store, id, source);
}

/**
 * Gives a model a role; the model that had it gets the other one.
 * @param {Store} store @param {string} id @param {EntryRole} role
 */
export function setRole(store, id, role) {
  const entry = store.state.entries.find((other) => other.id === id);
  const holder = store.state.entries.find((other) => other.role === role && other.id !== id);
  if (!entry) return;
  if (holder && role !== 'spare') store.dispatch({ type: 'entry', id: holder.id, values: { role: entry.role } });
  store.dispatch({ type: 'entry', id, values: { role } });
}
