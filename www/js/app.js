// @ts-check
// What the page can do: the actions behind buttons and keys, and the jobs they start.

import { api, version } from './api.js';
import { MEASURE_AT_ONCE, REDRAW_EVERY } from './constants.js';
import { problemOf } from './errors.js';
import { plural } from './format.js';
import { picked } from './intake/collect.js';
import { addDelta, setRole, take } from './intake/intake.js';
import { remember, remembered, reopen } from './intake/recent.js';
import { fetchWhole, linkOf, openLink, remote } from './intake/remote.js';
import { Jobs } from './jobs.js';
import { activeEntry, entryOf, leansOnBase, rowNamed, rowsOf } from './model/rows.js';
import { download, open } from './output/destination.js';
import { copies, fetchCopy, remove, room } from './output/private.js';
import { initial, reduce, Store } from './state.js';
import { destinationOf } from './components/parts.js';
import { chainOf, rebuildKey, rebuildName } from './views/rebuild.js';
import { lineageKey, readyDeltas } from './views/lineage.js';
import { makeKey, makeName, makeOptions, parentsOf } from './views/make.js';

/** @import { Entry, EntryRole, Prefs, Saved, View } from './types.js' */
/** @import { TensorTable } from './components/table.js' */
/** @import { Running } from './jobs.js' */
/** @import { Opened } from './output/destination.js' */

/** Key of the preferences in the browser's local storage. */
const PREFS = 'wdelta';

export class App {
  store = new Store(initial, reduce);
  jobs = new Jobs(this.store, (text, urgent) => this.speak(text, urgent));
  actions = actionsOf(this);
  /** @type {TensorTable | null} the table of the view that is shown */
  table = null;
  /** @type {number | null} bytes of private storage left */
  room = null;
  /** @type {number | null} bytes per second of the last long job */
  rate = null;
  /** @type {HTMLDialogElement | null} */
  help = null;
  /**
   * Says something to screen readers; set when the live regions exist.
   * @param {string} _text @param {boolean} [_urgent]
   */
  speak = (_text, _urgent) => {};
}

/** @param {App} app */
function actionsOf(app) {
  const { store, jobs } = app;
  const parents = (/** @type {import('./types.js').State} */ state) => {
    const sources = parentsOf(state).map(({ source }) => source);
    return sources.length ? { parents: sources } : {};
  };
  /** A delta, with those before it in the chain. @param {Entry} entry */
  const upTo = (entry) => {
    const chain = chainOf(store.state);
    return chain.includes(entry) ? chain.slice(0, chain.indexOf(entry) + 1) : [entry];
  };
  const sourceOf = (/** @type {'base' | 'finetuned'} */ role) => entryOf(store.state, role)?.source;

  const actions = {
    /** @param {string} [replace] the entry that the chosen file stands in for */
    async pickFiles(replace) {
      const pick = /** @type {{ showOpenFilePicker?: (options: object) => Promise<FileSystemFileHandle[]> }} */ (
        /** @type {unknown} */ (window)
      ).showOpenFilePicker;
      if (!pick) return choose({ multiple: !replace }, (list) => take(store, picked(list), { replace }));
      try {
        const handles = await pick.call(window, { multiple: !replace, id: 'wdelta' });
        const files = await Promise.all(handles.map(async (handle) => ({ handle, file: await handle.getFile() })));
        const all = files.map(({ handle, file }) => ({ handle, file, path: file.name }));
        await take(store, all, { replace });
        await remember(all);
      } catch (error) {
        if (problemOf(error).code !== 'ABORTED') throw error;
      }
    },
    pickFolder: () => choose({ webkitdirectory: true }, (list) => take(store, picked(list))),

    /** @param {string} [text] */
    askLink(text) {
      const url = text === undefined ? null : linkOf(text);
      if (url)
        return remote ? openLink(store, url) : location.assign(`./remote.html#url=${encodeURIComponent(url.href)}`);
      if (text !== undefined)
        store.set({
          notices: [...store.state.notices, { id: `n${performance.now()}`, text: 'Only https links can be opened.' }],
        });
      else if (remote) /** @type {HTMLElement | null} */ (document.querySelector('#link'))?.focus();
      else location.assign('./remote.html');
      return undefined;
    },

    async sample() {
      const files = await jobs.run(
        'fetch',
        'Sample',
        async ({ onProgress }) => {
          const { sampleFiles } = await import('./sample/load.js');
          return sampleFiles((name) => onProgress({ phase: `loading ${name}`, done: 0, total: 0 }));
        },
        {
          quiet: true,
          onProblem: (problem) =>
            store.set({ notices: [...store.state.notices, { id: 'sample', text: problem.message }] }),
        },
      );
      if (files) await take(store, files, { sample: true });
    },

    /** @param {Partial<Prefs>} values */
    prefer(values) {
      store.dispatch({ type: 'merge', part: 'prefs', values });
      try {
        localStorage.setItem(PREFS, JSON.stringify(store.state.prefs));
      } catch {
        // Storage may be switched off; the choice then holds until the page is closed.
      }
    },
    recall() {
      try {
        store.dispatch({ type: 'merge', part: 'prefs', values: JSON.parse(localStorage.getItem(PREFS) ?? '{}') });
      } catch {
        // As above, or an older format: the defaults stand.
      }
    },
    help: () => app.help?.showModal(),

    /** @param {string} id @param {View} [view] @param {string} [measure] */
    activate(id, view, measure) {
      store.set({
        active: id,
        tensor: null,
        cell: null,
        open: null,
        brush: [0, 1],
        ...(view ? { view } : {}),
        ...(measure ? { measure } : {}),
      });
    },
    /** @param {string} id */
    remove: (id) => store.dispatch({ type: 'remove', id }),
    /** @param {string} id @param {EntryRole} role */
    setRole: (id, role) => setRole(store, id, role),
    /** @param {View} view */
    go: (view) => store.set({ view }),
    /** @param {string} id */
    dismiss: (id) => store.set({ notices: store.state.notices.filter((notice) => notice.id !== id) }),

    /**
     * Chooses a tensor for all views. A small one is measured at once, when it was chosen on purpose and nothing runs.
     * @param {string | null} name @param {boolean} [passing] the cursor merely came by
     */
    select(name, passing = false) {
      store.set({ tensor: name });
      const row = rowNamed(rowsOf(activeEntry(store.state)), name);
      if (
        row &&
        !row.stats &&
        !passing &&
        store.state.view === 'inspect' &&
        row.bytes <= MEASURE_AT_ONCE &&
        (!leansOnBase(activeEntry(store.state)) || sourceOf('base')) &&
        !jobs.running
      )
        void actions.measure([row.name], false);
    },

    /**
     * Statistics of the decoded values, of all tensors or of some.
     * @param {string[] | null} names @param {boolean} withBase
     */
    async measure(names, withBase) {
      const entry = activeEntry(store.state);
      if (!entry) return;
      const rows = new Map(rowsOf(entry).map((row) => [row.name, row]));
      const base = withBase || leansOnBase(entry) ? sourceOf('base') : undefined;
      let next = 0;
      await jobs.run(
        'measure',
        names ? 'Measure tensor' : 'Measure',
        async ({ signal, onProgress }) => {
          const total = [...rows.values()].reduce(
            (sum, { name, bytes }) => (!names || names.includes(name) ? sum + bytes : sum),
            0,
          );
          const started = performance.now();
          let done = 0;
          onProgress({ phase: 'measuring', done, total });
          const job = { deltas: (base ? upTo(entry) : [entry]).map(({ source }) => source), ...(base ? { base } : {}), ...(names ? { names } : {}), signal };
          for await (const stats of (await api()).stats(job)) {
            const row = rows.get(stats.name);
            if (!row) continue;
            row.stats = stats;
            done += row.bytes;
            const bytesPerSecond = (done * 1000) / (performance.now() - started);
            onProgress({
              phase: 'measuring',
              tensor: row.name,
              done,
              total,
              bytesPerSecond,
              etaSeconds: (total - done) / bytesPerSecond,
            });
            // Redrawing table and picture for each of thousands of tensors would take longer than measuring them.
            if (performance.now() < next) continue;
            store.set({ revision: store.state.revision + 1 });
            next = performance.now() + Math.max(REDRAW_EVERY, rows.size / 4);
          }
        },
        { quiet: names !== null },
      );
      store.set({ revision: store.state.revision + 1 });
    },

    /** @param {Entry} entry @param {boolean} withBase */
    async verify(entry, withBase) {
      const base = withBase ? entryOf(store.state, 'base') : undefined;
      const key = base ? `${entry.id}:${base.id}` : entry.id;
      const deltas = base ? upTo(entry) : [entry];
      const result = await jobs.run(
        'verify',
        'Check',
        async (running) =>
          (await api()).verify({
            deltas: deltas.map(({ source }) => source),
            ...(base ? { base: base.source } : {}),
            ...running,
          }),
        {
          onProblem: (problem) => problem.code !== 'ABORTED' && store.dispatch({ type: 'check', key, value: problem }),
        },
      );
      if (result) store.dispatch({ type: 'check', key, value: 'ok' });
    },

    /** @param {[Entry, Entry]} pair */
    async diff([a, b]) {
      const base = a.role === 'delta' ? sourceOf('base') : undefined;
      const result = await jobs.run('diff', 'Compare', async (running) =>
        (await api()).diff({ a: a.source, b: b.source, ...(base ? { base } : {}), ...running }),
      );
      if (result)
        store.dispatch({ type: 'merge', part: 'compare', values: { diff: { key: `${a.id}:${b.id}`, result } } });
    },

    /** @param {boolean} headersOnly without the base only headers are read; that is not a job */
    async lineage(headersOnly) {
      const key = lineageKey(store.state);
      const base = headersOnly ? undefined : entryOf(store.state, 'base');
      const deltas = readyDeltas(store.state);
      const job = { deltas: deltas.map(({ source }) => source), ...(base ? { base: base.source } : {}) };
      const result = headersOnly
        ? await (await api()).lineage(job).catch(() => null)
        : await jobs.run('lineage', 'Check links', async (running) => (await api()).lineage({ ...job, ...running }));
      if (!result || key !== lineageKey(store.state)) return;
      store.set({ lineage: { key, result } });
      for (const { index, parent, state } of result.links) {
        if (base && parent === 'base' && state === 'verified')
          store.dispatch({ type: 'check', key: `${deltas[index].id}:${base.id}`, value: 'ok' });
      }
    },

    /** @param {string} id puts a delta at the end of the chain */
    addToChain: (id) => store.set({ chain: [...store.state.chain, id] }),
    /** @param {string[]} chain */
    rebuildChain: (chain) => store.set({ chain, view: 'rebuild' }),

    /**
     * What a job would do, from headers alone.
     * @param {string} key what it is for; `null` in the state while it is being made
     * @param {boolean} [again] @param {string} [strategy] of a delta to be made
     */
    async plan(key, again = false, strategy) {
      if (store.state.plans.has(key) && !again) return;
      store.dispatch({ type: 'plan', key, value: null });
      const { state } = store;
      const { dtype, layout } = state.rebuild;
      const base = sourceOf('base');
      try {
        // A place that takes results of any size; a plan writes nothing. Without one the result would have to fit in memory.
        const output = await navigator.storage?.getDirectory?.().catch(() => undefined);
        const place = output ? { output, force: true } : {};
        const job = strategy
          ? { job: 'encode', base, finetuned: sourceOf('finetuned'), ...parents(state), ...makeOptions(state, strategy) }
          : { job: 'decode', base, deltas: chainOf(state).map(({ source }) => source), dtype, layout };
        store.dispatch({ type: 'plan', key, value: await (await api()).plan({ ...job, ...place }) });
      } catch (error) {
        store.dispatch({ type: 'plan', key, value: problemOf(error) });
      }
      app.room = await room().catch(() => null);
      store.set({});
    },

    async rebuild() {
      const { state } = store;
      const base = entryOf(state, 'base');
      const chain = chainOf(state);
      const plan = state.plans.get(rebuildKey(state));
      if (!base || !chain.length || !plan || !('outputs' in plan) || jobs.running) return;
      const { dtype, layout } = state.rebuild;
      const name = rebuildName(state);
      const many = plan.outputs.length > 1;
      const saved = await produce(
        'rebuild',
        'Rebuild',
        many ? name.replace(/\.safetensors$/, '') : name,
        plan,
        many,
        { base, chain },
        { dtype, layout },
        async (output, running) =>
          (await api()).decode({
            base: base.source,
            deltas: chain.map(({ source }) => source),
            ...(output ? { output, force: true } : {}),
            dtype,
            layout,
            ...running,
          }),
      );
      const { problem } = store.state.job ?? {};
      const found = saved ? 'ok' : problem?.code === 'WRONG_BASE' && chain.length === 1 ? problem : null;
      if (found) store.dispatch({ type: 'check', key: `${chain[0].id}:${base.id}`, value: found });
    },

    async make() {
      const { state } = store;
      const base = entryOf(state, 'base');
      const finetuned = entryOf(state, 'finetuned');
      const plan = state.plans.get(makeKey(state));
      if (!base || !finetuned || !plan || !('outputs' in plan) || jobs.running) return;
      const options = makeOptions(state);
      const chain = parentsOf(state);
      const saved = await produce(
        'make',
        'Make',
        makeName(state),
        plan,
        false,
        { base, finetuned, parents: chain },
        options,
        async (output, running) =>
          (await api()).encode({
            base: base.source,
            finetuned: finetuned.source,
            ...parents(state),
            ...(output ? { output, force: true } : {}),
            ...options,
            ...running,
          }),
      );
      const blob = saved?.files[0]?.blob;
      if (!saved || !blob) return;
      const id = addDelta(store, { file: blob, path: saved.files[0].name });
      const made = /** @type {import('./types.js').EncodeResult} */ (saved.result);
      store.dispatch({ type: 'entry', id, values: { made } });
      if (!chain.length) store.dispatch({ type: 'check', key: `${id}:${base.id}`, value: 'ok' });
    },

    /** @param {Entry} entry a link whose host sends whole files only */
    fetchWhole: (entry) => fetchWhole(store, jobs, entry),

    /** @param {string} job @param {string} name */
    fetchCopy: async (job, name) => download(await fetchCopy(job, name), name),
    /** @param {string} job */
    async removeCopy(job) {
      await remove(job);
      store.set({
        privateCopies: await copies(),
        saved: store.state.saved.map((each) => ({
          ...each,
          files: each.files.map((file) => (each.copy === job ? { name: file.name, size: file.size } : file)),
        })),
      });
    },
    async listCopies() {
      store.set({ privateCopies: await copies().catch(() => []) });
    },

    async offerReopen() {
      const handles = await remembered();
      if (handles.length && !store.state.entries.length)
        store.set({
          notices: [
            ...store.state.notices,
            {
              id: 'reopen',
              text: `Last time: ${handles
                .map(({ name }) => name)
                .slice(0, 3)
                .join(', ')}${handles.length > 3 ? ` and ${plural(handles.length - 3, 'more', 'more')}` : ''}.`,
              action: 'reopen',
            },
          ],
        });
    },
    /** @param {string} action of a notice */
    async notice(action) {
      actions.dismiss(action);
      if (action === 'reopen') await take(store, await reopen(await remembered()));
      if (action === 'update') {
        const registration = await navigator.serviceWorker.getRegistration();
        registration?.waiting?.postMessage('skip waiting');
      }
    },
  };

  /**
   * Runs a job that writes a file: opens the way out first, keeps what came of it, leaves nothing on failure.
   * @template T
   * @param {'rebuild' | 'make'} kind @param {string} title @param {string} name @param {import('./types.js').Plan} plan @param {boolean} many
   * @param {Record<string, Entry | Entry[]>} inputs @param {object} options
   * @param {(output: unknown, running: Running) => Promise<T>} work
   * @returns {Promise<Saved | null>}
   */
  async function produce(kind, title, name, plan, many, inputs, options, work) {
    const way = destinationOf(plan.bytes, many, store.state.to);
    if (!way) return null;
    /** @type {Opened} */
    let opened;
    try {
      opened = await open(way, name, many);
    } catch (error) {
      // A closed picker is no error; anything else is shown as a job that failed.
      if (problemOf(error).code !== 'ABORTED') await jobs.run(kind, title, () => Promise.reject(error));
      return null;
    }
    const started = performance.now();
    const result = await jobs.run(kind, title, (running) => work(opened.output, running));
    if (result === null) {
      await opened.discard().catch(() => {});
      await actions.listCopies();
      return null;
    }
    const seconds = (performance.now() - started) / 1000;
    const files = await opened.blobs(/** @type {any} */ (result));
    app.rate = seconds > 1 ? (plan.reads + plan.writes) / seconds : app.rate;
    const described = Object.fromEntries(
      Object.entries(inputs).map(([role, entries]) => [
        role,
        [entries].flat().map((entry) => ({
          name: entry.name,
          bytes: entry.size,
          ...(entry.info ? { baseHash: entry.info.baseHash } : {}),
        })),
      ]),
    );
    const { data, ...rest } = /** @type {{ data?: unknown }} */ (result);
    const report = {
      tool: 'wdelta page',
      version: await version(),
      at: new Date().toISOString(),
      job: kind,
      inputs: described,
      options,
      outputs: files.map((file) => ({ name: file.name, bytes: file.size })),
      seconds,
      result: rest,
    };
    const saved = {
      kind,
      title: kind === 'rebuild' ? 'Model rebuilt and checked' : 'Delta made',
      files,
      where: opened.where,
      copy: opened.copy,
      report,
      seconds,
      result: rest,
    };
    store.set({ saved: [...store.state.saved, saved] });
    await actions.listCopies();
    requestAnimationFrame(() =>
      requestAnimationFrame(() => /** @type {HTMLElement | null} */ (document.querySelector('[data-result]'))?.focus()),
    );
    return saved;
  }

  return actions;
}

/**
 * The file dialog of every browser.
 * @param {import('./dom.js').Props} props @param {(files: FileList) => void} onFiles
 */
function choose(props, onFiles) {
  const input = document.createElement('input');
  input.type = 'file';
  Object.assign(input, props);
  input.addEventListener('change', () => input.files && onFiles(input.files));
  input.click();
}
