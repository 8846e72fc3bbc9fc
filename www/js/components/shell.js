// @ts-check
// What stands around the views: header, tray, tabs, notices, help.

import { button, checkbox, facts, h, icon, live, select, svg, under } from '../dom.js';
import { bytes, middle, name, plain, plural } from '../format.js';
import { retry } from '../intake/intake.js';
import { remote } from '../intake/remote.js';
import { entryOf, isModel } from '../model/rows.js';
import { problemLine } from './problem.js';

/** @import { App } from '../app.js' */
/** @import { Entry, EntryRole, Problem, View } from '../types.js' */

/** The views, in the order of tabs and of the keys 1 to 5. @type {Record<View, string>} */
export const TITLES = { inspect: 'Inspect', compare: 'Compare', lineage: 'Lineage', rebuild: 'Rebuild', make: 'Make' };

/** @param {App} app @param {AbortSignal} signal */
export function header(app, signal) {
  const { store, actions } = app;
  const menu = h(
    'div',
    { id: 'open-menu', class: 'menu', popover: 'auto' },
    button('Folder…', () => (close(), actions.pickFolder())),
    button('Link…', () => {
      close();
      if (remote) /** @type {HTMLElement | null} */ (document.querySelector('#link'))?.focus();
      else actions.toRemote('');
    }),
    button('The sample', () => (close(), actions.sample())),
  );
  const close = () => menu.hidePopover();
  const more = h(
    'button',
    { type: 'button', class: 'split', popovertarget: 'open-menu', 'aria-label': 'More ways to open' },
    icon('down'),
  );
  under(menu, more);
  const tray = live(
    store,
    signal,
    h('ul', { class: 'tray', 'aria-label': 'Files' }),
    (state) => [state.entries, state.active, state.job?.state === 'running', state.checks],
    ([entries, active, busy]) => entries.map((entry) => chip(app, entry, entry.id === active, busy)),
  );
  store.watch((state) => [state.active], () => inSight(tray, '.active'), signal);
  return h(
    'header',
    { class: 'top' },
    h(
      'a',
      { class: 'brand', href: './', 'aria-label': 'wdelta, start again' },
      svg(
        'svg',
        { viewBox: '0 0 16 16', class: 'mark', 'aria-hidden': 'true' },
        svg('path', { d: 'M8 1.5 15 14.5H1Z' }),
      ),
      'wdelta',
    ),
    h(
      'div',
      { class: 'open' },
      button('Open…', () => actions.pickFiles(), { class: 'primary', 'aria-keyshortcuts': 'O' }),
      more,
    ),
    menu,
    tray,
    h(
      'div',
      { class: 'tools' },
      live(
        store,
        signal,
        h('div'),
        (state) => [state.prefs.theme],
        ([theme]) => {
          const next = theme === 'auto' ? 'light' : theme === 'light' ? 'dark' : 'auto';
          return button(
            [icon('theme'), h('span', { class: 'wide' }, ` ${theme}`)],
            () => actions.prefer({ theme: next }),
            {
              class: 'quiet',
              'aria-label': `Colours: ${theme}. Change to ${next}`,
              'data-key': 'theme',
            },
          );
        },
      ),
      button('?', () => actions.help(), { class: 'quiet', 'aria-label': 'Help', 'aria-keyshortcuts': '?' }),
    ),
  );
}

/** Scrolls a box, and nothing around it, to what it does not show. @param {HTMLElement} box @param {string} selector */
function inSight(box, selector) {
  const found = /** @type {HTMLElement | null} */ (box.querySelector(selector));
  if (!found) return;
  const [inner, outer] = [found, box].map((each) => each.getBoundingClientRect());
  if (inner.left < outer.left || inner.right > outer.right || inner.top < outer.top || inner.bottom > outer.bottom)
    box.scrollTo(found.offsetLeft, found.offsetTop);
}

/** A file's name. The end of a delta's stays in sight, for that is where deltas differ. @param {Entry} entry */
function fileName({ name, role }) {
  const seen = middle(plain(name), 32);
  const at = role === 'delta' ? Math.max(0, seen.length - 14) : seen.length;
  return h('bdi', { class: 'name', title: plain(name) }, h('span', null, seen.slice(0, at)), h('span', null, seen.slice(at)));
}

/** @param {App} app @param {Entry} entry @param {boolean} active @param {boolean} busy */
function chip({ store, actions }, entry, active, busy) {
  const { id, role, state, size, files } = entry;
  const { checks } = store.state;
  const base = entryOf(store.state, 'base');
  const alone = checks.get(id);
  const fit = base ? checks.get(`${id}:${base.id}`) : alone;
  const mood = state === 'failed' || [fit, alone].some((check) => typeof check === 'object') ? 'error' : fit ? 'ok' : null;
  return h(
    'li',
    { class: `chip ${role}${active ? ' active' : ''}`, 'aria-busy': state === 'reading' },
    icon(role),
    isModel(entry)
      ? select(
          `Role of ${plain(entry.name)}`,
          /** @type {[string, string][]} */ ([
            ['base', 'base'],
            ['finetuned', 'fine-tune'],
            ['spare', 'not used'],
          ]),
          role,
          (value) => actions.setRole(id, /** @type {EntryRole} */ (value)),
          { class: 'role', disabled: busy },
        )
      : h('span', { class: 'role' }, role !== 'delta' ? 'not usable' : state === 'failed' ? 'failed' : role),
    role === 'delta' && state === 'ready'
      ? button(fileName(entry), () => actions.activate(id), {
          class: 'link',
          // The two parts of the name that is seen would be read as two.
          'aria-label': plain(entry.name),
          'aria-pressed': active,
          'data-key': `chip ${id}`,
        })
      : fileName(entry),
    // Not both: on a narrow screen the name's end would be cut.
    state === 'reading' ? h('span', { class: 'muted' }, entry.reading) : h('span', { class: 'num muted' }, bytes(size)),
    files > 1 ? h('span', { class: 'muted' }, plural(files, 'file')) : null,
    mood
      ? h(
          'span',
          { class: `status ${mood}` },
          icon(mood),
          h('span', { class: 'sr' }, mood === 'ok' ? 'checked' : 'has an error'),
        )
      : null,
    button('×', () => actions.remove(id), {
      class: 'quiet',
      'aria-label': `Remove ${plain(entry.name)}`,
      disabled: busy,
      'data-key': `remove ${id}`,
    }),
  );
}

/** The address of a view, with the tensor that is chosen. @param {string} view @param {string | null} tensor */
export const hashOf = (view, tensor) => `#${view}${tensor === null ? '' : `&t=${encodeURIComponent(tensor)}`}`;

/** @param {App} app @param {AbortSignal} signal */
export function tabs({ store }, signal) {
  return live(
    store,
    signal,
    h('nav', { class: 'tabs', 'aria-label': 'Views' }),
    (state) => [state.view, state.tensor],
    ([view, tensor]) =>
      Object.entries(TITLES).map(([id, text], i) =>
        h(
          'a',
          {
            href: hashOf(id, tensor),
            'aria-current': id === view ? 'page' : null,
            'aria-keyshortcuts': i + 1,
            'data-key': `tab ${id}`,
          },
          h('kbd', { 'aria-hidden': 'true' }, i + 1),
          ` ${text}`,
        ),
      ),
  );
}

/** What is unfolded stays so while others come and go. @type {WeakMap<Problem, HTMLElement>} */
const lines = new WeakMap();

/** A file that could not be read. @param {App} app @param {Entry} entry @param {boolean} alone whether it is the only one open */
function lineOf({ store, actions }, entry, alone) {
  const problem = /** @type {Problem} */ (entry.problem);
  const fixes = actions.fixes({
    choose: () => actions.pickFiles(entry.id),
    retry: () => retry(store, entry),
    reload: () => location.reload(),
    fetch: () => actions.fetchWhole(entry),
  });
  const line =
    lines.get(problem) ??
    h('article', { class: 'notice', 'aria-label': plain(entry.name) }, problemLine(entry.name, problem, fixes, alone));
  lines.set(problem, line);
  return line;
}

/** Files that could not be read, leftovers and other remarks. @param {App} app @param {AbortSignal} signal */
export function notices(app, signal) {
  const { store, actions } = app;
  return live(
    store,
    signal,
    h('section', { class: 'notices', 'aria-label': 'Remarks' }),
    (state) => [
      state.entries.filter((entry) => entry.state === 'failed').length,
      state.entries,
      state.notices,
      state.privateCopies,
      state.saved,
    ],
    ([, entries, remarks, copies]) => [
      ...entries
        .filter((entry) => entry.state === 'failed' && entry.problem)
        .map((entry) => lineOf(app, entry, entries.length === 1)),
      ...remarks.map(({ id, text, action }) =>
        h(
          'article',
          { class: 'notice' },
          h('p', { class: 'status note' }, icon('note'), ` ${text}`),
          h(
            'div',
            { class: 'actions' },
            action
              ? button(action === 'update' ? 'Load the new version' : 'Reopen', () => actions.notice(action))
              : null,
            button('Dismiss', () => actions.dismiss(id), { class: 'quiet' }),
          ),
        ),
      ),
      copies.length
        ? h(
            'article',
            { class: 'notice', 'aria-label': 'Private copies' },
            h('h2', null, 'Results of an earlier visit'),
            h(
              'ul',
              { class: 'plain-list' },
              copies.map(({ name: job, files, size }) =>
                h(
                  'li',
                  null,
                  files.map((file) => name(file.name, 40)),
                  h('span', { class: 'num muted' }, ` ${bytes(size)} `),
                  files.map((file) =>
                    button(
                      files.length > 1 ? ['Download ', name(file.name, 24)] : 'Download',
                      () => actions.fetchCopy(job, file.name),
                      { class: 'quiet' },
                    ),
                  ),
                  button('Delete', () => actions.removeCopy(job), { class: 'quiet', 'data-key': `delete ${job}` }),
                ),
              ),
            ),
          )
        : null,
    ],
  );
}

/** What becomes of files. */
export const PRIVACY = `are read where they lie${remote ? '. Links are fetched from their hosts, and nothing else is sent' : ', and nothing is sent anywhere'}.`;

const KEYS = [
  ['O', 'open files'],
  ['1 – 5', 'views'],
  ['/', 'filter'],
  ['J K, ↓ ↑', 'rows'],
  ['Enter', 'details'],
  ['Esc', 'close or clear'],
  ['C', 'copy the name'],
  ['T', 'chart as table'],
  ['?', 'this help'],
];

/** @param {App} app @param {AbortSignal} signal */
export function help({ store, actions }, signal) {
  return h(
    'dialog',
    { class: 'help', 'aria-labelledby': 'help-title' },
    h('h2', { id: 'help-title' }, 'Help'),
    h(
      'p',
      null,
      `Base and delta together give the fine-tune back. Files ${PRIVACY}`,
    ),
    facts([
      ['Δ', 'what the fine-tune changed'],
      ['RMS', 'how much, in a typical parameter'],
      ['Norm, distance', 'how much, in all parameters together'],
      ['Cosine', '1 if two change the same way, 0 if unlike'],
    ]),
    facts(KEYS.map(([keys, text]) => [h('kbd', null, keys), text])),
    live(
      store,
      signal,
      h('div', { class: 'options' }),
      (state) => [state.prefs],
      ([prefs]) => [
        checkbox('single', prefs.singleKeys, 'Single-key shortcuts', () => actions.prefer({ singleKeys: !prefs.singleKeys })),
        checkbox('dense', !prefs.dense, 'Taller rows', () => actions.prefer({ dense: !prefs.dense })),
      ],
    ),
    isSecureContext
      ? null
      : h(
          'p',
          { class: 'muted' },
          'Without https there is no private storage, file picker or offline use.',
        ),
    h(
      'div',
      { class: 'actions' },
      button('Close', (event) => /** @type {HTMLElement} */ (event.target).closest('dialog')?.close(), {
        class: 'primary',
      }),
    ),
  );
}
