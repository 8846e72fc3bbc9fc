// @ts-check
// Puts the page together: shell, views, address, keys, drops, and what runs in the background.

import { makeView } from './views/make.js';
import { App } from './app.js';
import { button, fill, h } from './dom.js';
import { jobBar } from './components/job.js';
import { hashOf, header, help, notices, tabs, TITLES } from './components/shell.js';
import { plural } from './format.js';
import { dropped, picked } from './intake/collect.js';
import { take } from './intake/intake.js';
import { remember } from './intake/recent.js';
import { storage, sweep } from './output/private.js';
import { brushed } from './model/filter.js';
import { linkOf, openLink, remote } from './intake/remote.js';
import { compareView } from './views/compare.js';
import { inspectView } from './views/inspect.js';
import { lineageView } from './views/lineage.js';
import { ready, scriptUrl } from './api.js';
import { rebuildView } from './views/rebuild.js';

/** @import { View } from './types.js' */

/** @type {Record<View, (app: App, signal: AbortSignal) => Node[]>} */
const SHOW = { inspect: inspectView, compare: compareView, lineage: lineageView, rebuild: rebuildView, make: makeView };
const VIEWS = /** @type {View[]} */ (Object.keys(TITLES));

const app = new App();
// The file dialog of every browser.
app.choose = (/** @type {Partial<HTMLInputElement>} */ props, /** @type {(files: FileList) => void} */ onFiles) => {
  const input = h('input', { type: 'file', on: { change: () => input.files && onFiles(input.files) } });
  Object.assign(input, props);
  input.click();
};
const { store, jobs, actions } = app;
const page = new AbortController().signal;

actions.recall();
store.watch(
  (state) => [state.prefs.theme],
  ([theme]) => {
    document.documentElement.dataset.theme = theme;
  },
  page,
);

const main = h('main', { id: 'main', tabindex: -1 });
const polite = h('div', { class: 'sr', 'aria-live': 'polite' });
const assertive = h('div', { class: 'sr', 'aria-live': 'assertive' });
app.speak = (/** @type {string} */ text, /** @type {boolean | undefined} */ urgent) => {
  const region = urgent ? assertive : polite;
  region.textContent = text;
};
app.help = help(app, page);
const veil = h('div', { class: 'veil', hidden: true }, h('p'));
document.body.replaceChildren(
  button('Skip to the table', () => (app.table ? app.table.focus() : main.focus()), { class: 'skip' }),
  header(app, page),
  tabs(app, page),
  ...(remote ? [linkForm()] : []),
  notices(app, page),
  main,
  jobBar(app, page),
  polite,
  assertive,
  app.help,
  veil,
);

/** @type {AbortController | null} */
let shown = null;
store.watch(
  (state) => [state.view],
  ([view]) => {
    shown?.abort();
    shown = new AbortController();
    document.documentElement.dataset.view = view;
    main.setAttribute('aria-label', TITLES[view]);
    fill(main, SHOW[view](app, shown.signal));
    scrollTo(0, 0);
  },
  page,
);

// Address: #view or #view&t=tensor. #url=link opens a link.
/** @param {boolean} first */
function follow(first) {
  const text = location.hash.slice(1);
  const [head, ...rest] = text.split('&');
  const asked = new URLSearchParams(head.includes('=') ? text : rest.join('&'));
  const url = asked.get('url');
  if (url && first) {
    const link = linkOf(url);
    if (!remote) location.replace(`./remote.html#url=${encodeURIComponent(url)}`);
    else if (link) void openLink(store, link);
  }
  const view = /** @type {View} */ (head);
  store.set({ view: VIEWS.includes(view) ? view : 'inspect', tensor: asked.get('t') });
}
follow(true);
addEventListener('popstate', () => follow(false));
store.watch(
  (state) => [state.view, state.tensor],
  ([view, tensor]) => {
    const hash = hashOf(view, tensor);
    if (hash === (location.hash || '#inspect')) return;
    const sameView = location.hash.slice(1).split('&')[0] === view;
    // Walking through the rows replaces, so that "back" leads to the last view or choice and not through every row.
    if (sameView && location.hash.includes('&t=') && tensor !== null) history.replaceState(null, '', hash);
    else history.pushState(null, '', hash);
  },
  page,
);

// Drops: the whole window is the target.
let depth = 0;
addEventListener('dragenter', (event) => {
  if (!event.dataTransfer?.types.includes('Files')) return;
  depth++;
  const items = [...event.dataTransfer.items].filter(({ kind }) => kind === 'file').length;
  veil.hidden = false;
  const text = veil.querySelector('p');
  if (text) text.textContent = `Drop to open ${items ? plural(items, 'item') : 'files'}`;
});
// What is no file was not counted when it came.
addEventListener('dragleave', () => (veil.hidden = !(depth &&= depth - 1)));
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', async (event) => {
  event.preventDefault();
  depth = 0;
  veil.hidden = true;
  if (!event.dataTransfer) return;
  const files = await dropped(event.dataTransfer);
  await take(store, files);
  await remember(files);
});
addEventListener('paste', async (event) => {
  if (inTextField(event.target)) return;
  const files = event.clipboardData?.files;
  const text = event.clipboardData?.getData('text/plain') ?? '';
  if (files?.length) await take(store, picked(files));
  else if (linkOf(text)) await actions.askLink(text);
});

// Keys.
/** @param {EventTarget | null} target */
const inTextField = (target) =>
  target instanceof HTMLElement &&
  target.matches('input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]');

/** Presses the buttons that have a key. @param {string} key */
const press = (key) => /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`main [aria-keyshortcuts=${key}]`)).forEach((each) => each.click());

/** @type {Record<string, () => void>} */
const KEYS = {
  o: () => void actions.pickFiles(),
  '/': () => /** @type {HTMLElement | null} */ (document.querySelector('#filter'))?.focus(),
  j: () => app.table?.move(1),
  k: () => app.table?.move(-1),
  '?': () => actions.help(),
  // The button also says that it has copied.
  c: () => press('C'),
  t: () => press('T'),
};
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') return escape(event);
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    event.defaultPrevented ||
    inTextField(event.target) ||
    app.help?.open ||
    !store.state.prefs.singleKeys
  )
    return;
  const view = VIEWS[Number(event.key) - 1];
  const act = view ? () => actions.go(view) : KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});

/** Closes or clears one thing at a time. @param {KeyboardEvent} event */
function escape(event) {
  if (app.help?.open || document.querySelector(':popover-open')) return;
  const { filter, cell, brush, tensor } = store.state;
  if (event.target instanceof HTMLInputElement && event.target.id === 'filter') {
    if (filter) store.set({ filter: '' });
    else app.table?.focus();
  } else if (tensor !== null) actions.select(null);
  else if (cell !== null || brushed(brush)) store.set({ cell: null, brush: [0, 1] });
  else if (filter) store.set({ filter: '' });
}

addEventListener('beforeunload', (event) => {
  if (jobs.running) event.preventDefault();
});

/** Where links are pasted, in remote.html. */
function linkForm() {
  const input = h('input', {
    type: 'url',
    id: 'link',
    placeholder: 'https://…/delta.wdelta',
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-label': 'Link to a .wdelta or .safetensors file',
    on: { keydown: (/** @type {KeyboardEvent} */ event) => event.key === 'Enter' && void actions.askLink(input.value) },
  });
  return h(
    'section',
    { class: 'link-form', 'aria-label': 'Open a link' },
    h(
      'p',
      null,
      'This page reads links that you open: by https, without credentials. ',
      h('a', { href: './' }, 'Back to local files only'),
    ),
    h(
      'div',
      { class: 'bar' },
      input,
      button('Open link', () => void actions.askLink(input.value), { class: 'primary' }),
    ),
  );
}

/** Offline use; a new version is offered, and taken when nothing runs. */
async function worker() {
  if (!('serviceWorker' in navigator) || !isSecureContext) return;
  const registration = await navigator.serviceWorker.register(scriptUrl('sw.js'), { updateViaCache: 'none' });
  const offer = () =>
    registration.waiting &&
    navigator.serviceWorker.controller &&
    store.say('update', 'A new version of this page is ready.', 'update');
  offer();
  registration.addEventListener('updatefound', () => registration.installing?.addEventListener('statechange', offer));
  let reloading = false;
  const had = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener('controllerchange', () => {
    if (!had || reloading || jobs.running) return;
    reloading = true;
    location.reload();
  });
}

void sweep().catch(() => {});
void actions.listCopies();
void actions.offerReopen();
// That the core cannot be loaded is said where it is needed.
void Promise.allSettled([ready, storage, worker()]).then(() => {
  document.documentElement.dataset.ready = '';
});
