// @ts-check
// Getting files in and out: pickers, links, the sample, reopening, copies that lie in this browser.

import { problemOf } from '../errors.js';
import { picked } from '../intake/collect.js';
import { setRole, take } from '../intake/intake.js';
import { remember, remembered, reopen } from '../intake/recent.js';
import { fetchWhole, linkOf, openLink, remote } from '../intake/remote.js';
import { download } from '../output/destination.js';
import { copies, fetchCopy, remove } from '../output/private.js';

/** @import { App } from '../app.js' */
/** @import { Entry, EntryRole } from '../types.js' */

/** @param {App} app */
export function fileActions(app) {
  const { store, jobs } = app;
  const actions = {
    /** @param {string} [replace] the entry that the chosen file stands in for */
    async pickFiles(replace) {
      const pick = /** @type {{ showOpenFilePicker?: (options: object) => Promise<FileSystemFileHandle[]> }} */ (
        /** @type {unknown} */ (window)
      ).showOpenFilePicker;
      if (!pick) return app.choose({ multiple: true }, (list) => take(store, picked(list), { replace }));
      try {
        const handles = await pick.call(window, { multiple: true, id: 'wdelta' });
        const files = await Promise.all(handles.map(async (handle) => ({ handle, file: await handle.getFile() })));
        const all = files.map(({ handle, file }) => ({ handle, file, path: file.name }));
        await take(store, all, { replace });
        await remember(all);
      } catch (error) {
        if (problemOf(error).code !== 'ABORTED') throw error;
      }
    },
    pickFolder: () => app.choose({ webkitdirectory: true }, (list) => take(store, picked(list))),

    /** @param {string} text */
    askLink(text) {
      const url = linkOf(text);
      store.say('link', url ? '' : 'Only https links can be opened.');
      return url && (remote ? openLink(store, url) : actions.toRemote(`#url=${encodeURIComponent(url.href)}`));
    },

    /** Goes to the page for links; what is open here stays open. @param {string} hash */
    toRemote: (hash) => void open(`./remote.html${hash}`, store.state.entries.length ? '_blank' : '_self', 'noopener'),

    async sample() {
      actions.dismiss('sample');
      const files = await jobs.run(
        'fetch',
        'Sample',
        async ({ onProgress }) => {
          const { sampleFiles } = await import('../sample/load.js');
          return sampleFiles(store.state.entries, (name) => onProgress({ phase: `loading ${name}`, done: 0, total: 0 }));
        },
        {
          quiet: true,
          onProblem: (problem) =>
            store.say('sample', problem.message),
        },
      );
      if (files) await take(store, files, { sample: true });
    },

    /** @param {string} id */
    remove: (id) => store.dispatch({ type: 'remove', id }),
    /** @param {string} id @param {EntryRole} role */
    setRole: (id, role) => setRole(store, id, role),
    /** @param {string} id */
    dismiss: (id) => store.say(id),

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
        store.say(
          'reopen',
          `Last time: ${handles
            .map(({ name }) => name)
            .slice(0, 3)
            .join(', ')}${handles.length > 3 ? ` and ${handles.length - 3} more` : ''}.`,
          'reopen',
        );
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
  return actions;
}
