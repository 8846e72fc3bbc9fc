// @ts-check
// What the page can do: one store, one runner of jobs, and the actions behind buttons and keys.

import { fileActions } from './actions/files.js';
import { lookActions } from './actions/look.js';
import { workActions } from './actions/work.js';
import { Jobs } from './jobs.js';
import { isRunning } from './components/parts.js';
import { knownPath } from './model/chain.js';
import { entryOf } from './model/rows.js';
import { initial, reduce, Store } from './state.js';

/** @import { Prefs, View } from './types.js' */
/** @import { Fixes } from './components/problem.js' */
/** @import { TensorTable } from './components/table.js' */

/** Key of the preferences in the browser's local storage. */
const PREFS = 'wdelta';

export class App {
  store = new Store(initial, reduce);
  jobs = new Jobs(this.store, (text, urgent) => this.speak(text, urgent));
  actions = { ...pageActions(this), ...fileActions(this), ...lookActions(this), ...workActions(this) };
  /** @type {TensorTable | null} the table of the view that is shown */
  table = null;
  /** @type {number | null} bytes of private storage left */
  room = null;
  /** @type {HTMLDialogElement | null} */
  help = null;
  /**
   * Follows the choice of a tensor with sight and focus; set where there are details.
   * @param {string | null} _name
   */
  chosen = (_name) => {};
  /**
   * Opens the browser's file dialog; set when there is a page.
   * @param {Partial<HTMLInputElement>} _props @param {(files: FileList) => void} _onFiles
   */
  choose = (_props, _onFiles) => {};
  /**
   * Says something to screen readers; set when the live regions exist.
   * @param {string} _text @param {boolean} [_urgent]
   */
  speak = (_text, _urgent) => {};
}

/** @param {App} app */
function pageActions(app) {
  const { store } = app;
  return {
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
    help() {
      app.help?.showModal();
      // The focus is on an option at its end.
      app.help?.scrollTo(0, 0);
    },
    /** What errors may offer everywhere. @param {Fixes} [own] of the place @returns {Fixes} */
    fixes: (own) => ({
      base: () => app.actions.pickFiles(entryOf(store.state, 'base')?.id),
      choose: ({ source }) => app.actions.pickFiles(store.state.entries.find(({ name }) => name === source)?.id),
      lineage: () => app.actions.go('lineage'),
      ...own,
    }),

    /** @param {string} id @param {View} [view] @param {string} [measure] */
    activate(id, view, measure) {
      const { entries, chain, make, job } = store.state;
      const path = knownPath(store.state, entries.find((entry) => entry.id === id));
      store.set({
        active: id,
        // What is looked at is what Rebuild takes, unless it is in use there or in Make.
        chain: isRunning(job, 'rebuild') || chain.includes(id) || make.against === 'chain' ? chain : (path?.map((entry) => entry.id) ?? [id]),
        tensor: null,
        cell: null,
        open: null,
        brush: [0, 1],
        ...(view ? { view } : {}),
      });
      if (measure) app.actions.showMeasure(measure);
    },
    /** @param {View} view */
    go: (view) => store.set({ view }),

    /** @param {string[]} chain */
    rebuildChain: (chain) => store.set({ chain, view: 'rebuild' }),
  };
}
