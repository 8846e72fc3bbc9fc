// @ts-check
// The one store of the page and its one reducer.

/** @import { State, Entry, Problem } from './types.js' */

/** @type {State} */
export const initial = {
  view: 'inspect',
  tensor: null,
  entries: [],
  active: null,
  notices: [],
  job: null,
  revision: 0,
  checks: new Map(),
  filter: '',
  cell: null,
  open: null,
  brush: [0, 1],
  measure: [],
  log: null,
  logCounts: false,
  picture: 'map',
  sort: { column: 'name', descending: false },
  group: '',
  closed: [],
  compare: { a: null, b: null, side: 'difference', diff: null },
  lineage: null,
  chain: [],
  rebuild: { dtype: 'base', layout: 'auto', name: '', next: '' },
  make: { against: 'base', strategy: 'lossless', outlierFraction: '0.01', sparsity: '0.9', quality: '50', ratio: '', baseName: '', name: '' },
  to: '',
  plans: new Map(),
  saved: [],
  privateCopies: [],
  prefs: { theme: 'auto', dense: true, singleKeys: true, hidden: ['largest', 'outliers', 'equal'] },
};

/**
 * What can happen. `set` replaces fields, `merge` replaces fields of one part, `entry` changes one file.
 * @typedef {{ type: 'set', values: Partial<State> }
 *   | { type: 'merge', part: 'compare' | 'rebuild' | 'make' | 'prefs' | 'job', values: object }
 *   | { type: 'add', entry: Entry, replace?: string }
 *   | { type: 'entry', id: string, values: Partial<Entry> }
 *   | { type: 'remove', id: string }
 *   | { type: 'checks', key: string, value: number | Problem }
 *   | { type: 'plans', key: string, value: State['plans'] extends Map<string, infer V> ? V : never }} Action
 */

/** A problem of files that are not in use any more says nothing. @param {State} state */
const ended = ({ job }) => (job?.problem ? null : job);

/** A delta is shown, and one is to be applied, as soon as there is one that can be. @param {State} state @returns {State} */
function settled(state) {
  const usable = state.entries.filter((entry) => entry.role === 'delta' && entry.state !== 'failed').map(({ id }) => id);
  const [first = null] = usable;
  const chain = state.chain.filter((id) => usable.includes(id));
  return {
    ...state,
    active: usable.find((id) => id === state.active) ?? first,
    chain: chain.length ? chain : usable.slice(0, 1),
  };
}

/**
 * @param {State} state
 * @param {Action} action
 * @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case 'set':
      return { ...state, ...action.values };
    case 'merge':
      return { ...state, [action.part]: { ...state[action.part], ...action.values } };
    case 'add': {
      const { entry, replace } = action;
      if (!replace) return settled({ ...state, entries: [...state.entries, entry] });
      const swap = (/** @type {string | null} */ id) => (id === replace ? entry.id : /** @type {string} */ (id));
      return settled({
        ...reduce(state, { type: 'remove', id: replace }),
        entries: state.entries.map((old) => (old.id === replace ? entry : old)),
        chain: state.chain.map(swap),
        active: swap(state.active),
      });
    }
    case 'entry': {
      const next = {
        ...state,
        job: action.values.role ? ended(state) : state.job,
        entries: state.entries.map((entry) => (entry.id === action.id ? { ...entry, ...action.values } : entry)),
      };
      return action.values.state ? settled(next) : next;
    }
    case 'remove': {
      const entries = state.entries.filter(({ id }) => id !== action.id);
      const { active, chain } = settled({ ...state, entries });
      const { a, b } = state.compare;
      const compare = { ...state.compare, a: a === action.id ? null : a, b: b === action.id ? null : b };
      const notices = state.notices.filter(({ id }) => id !== action.id);
      const checks = new Map([...state.checks].filter(([key]) => !key.split(':').includes(action.id)));
      return {
        ...state,
        entries,
        chain,
        active,
        compare,
        notices,
        checks,
        job: ended(state),
        tensor: active === state.active ? state.tensor : null,
      };
    }
    case 'checks':
    case 'plans':
      return { ...state, [action.type]: new Map(/** @type {Map<string, unknown>} */ (state[action.type])).set(action.key, action.value) };
  }
}

export class Store {
  state;
  #reduce;
  /** @type {Set<() => void>} */
  #watchers = new Set();
  #due = false;

  /** @param {State} state @param {typeof reduce} reducer */
  constructor(state, reducer) {
    this.state = state;
    this.#reduce = reducer;
  }

  /** @param {Action} action */
  dispatch(action) {
    this.state = this.#reduce(this.state, action);
    if (this.#due) return;
    this.#due = true;
    // Once per frame, but not in the frame's own task, which has the layout to do; hidden tabs get no frames, so a timer stands by.
    const flush = () => {
      if (!this.#due) return;
      this.#due = false;
      for (const watcher of [...this.#watchers]) watcher();
    };
    requestAnimationFrame(() => setTimeout(flush));
    setTimeout(flush, 100);
  }

  /** A remark, which takes the place of one of the same name; without a text that one goes. @param {string} id @param {string} [text] @param {string} [action] */
  say(id, text, action) {
    const others = this.state.notices.filter((notice) => notice.id !== id);
    this.set({ notices: text ? [...others, { id, text, action }] : others });
  }

  /** @param {Partial<State>} values */
  set(values) {
    this.dispatch({ type: 'set', values });
  }

  /**
   * Calls `react` now and whenever one of the selected values has changed.
   * @template {unknown[] | []} T
   * @param {(state: State) => T} select
   * @param {(values: NoInfer<T>) => void} react
   * @param {AbortSignal} [signal] ends it
   */
  watch(select, react, signal) {
    /** @type {T | undefined} */
    let last;
    const check = () => {
      if (signal?.aborted) return;
      const now = select(this.state);
      if (last && now.every((value, i) => Object.is(value, last?.[i]))) return;
      last = now;
      react(now);
    };
    // Known before its first call, so that it runs before the watchers which that call may add.
    this.#watchers.add(check);
    check();
    signal?.addEventListener('abort', () => this.#watchers.delete(check));
  }
}
