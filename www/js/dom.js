// @ts-check
// Building DOM: one small `h()` that sets text and known attributes only, and regions that follow the state.

/** @import { State } from './types.js' */
/** @import { Store } from './state.js' */

const KNOWN = new Set(
  (
    'autocomplete checked class colspan d disabled height hidden href id inputmode max min name placeholder popover ' +
    'popovertarget preserveAspectRatio points role scope selected spellcheck step tabindex title type value viewBox width ' +
    'x x1 x2 y y1 y2'
  ).split(' '),
);
const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {import('./types.js').Child} Child */
/**
 * Attributes, and besides: `on` event listeners, `vars` custom properties of the style.
 * @typedef {Record<string, unknown> & { on?: Record<string, (event: any) => void>, vars?: Record<string, string | number> }} Props
 */

/**
 * An HTML element. Text from files is safe here: it only ever becomes text or the value of a harmless attribute.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props] a value of `false`, `null` or `undefined` leaves the attribute out
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/**
 * An SVG element, otherwise as `h`.
 * @param {string} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 */
export function svg(tag, props, ...children) {
  return build(/** @type {SVGElement} */ (document.createElementNS(SVG, tag)), props, children);
}

/** @template {HTMLElement | SVGElement} E @param {E} element @param {Props | null | undefined} props @param {Child[]} children */
function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === 'on')
      for (const [type, listener] of Object.entries(props?.on ?? {})) element.addEventListener(type, listener);
    else if (name === 'vars')
      for (const [key, text] of Object.entries(props?.vars ?? {})) element.style.setProperty(key, String(text));
    else attribute(element, name, value);
  }
  element.append(...kept(children));
  return element;
}

/** @param {Element} element @param {string} name @param {unknown} value */
export function attribute(element, name, value) {
  if (!KNOWN.has(name) && !/^(aria|data)-[a-z-]+$/.test(name)) throw new Error(`Attribute ${name} is not known.`);
  if (name === 'href' && !/^(#|\.\/|blob:)/.test(String(value))) throw new Error('Links lead to this site only.');
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else if (name === 'value' && 'value' in element) element.value = String(value);
  else element.setAttribute(name, value === true && !name.startsWith('aria-') ? '' : String(value));
}

/** @param {Child[]} children */
const kept = (children) =>
  /** @type {unknown[]} */ (children)
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));

/** Where the focus was, as long as nothing has it: what had it may be gone, or disabled while a job runs. @type {{ element: Element, focused: Element, key: string | null | undefined, at: number } | null} */
let lost = null;

/**
 * Replaces an element's content. The focus stays on the element with the same `data-key`, and so does what is being typed
 * there; where that is gone the focus goes to what stands in its place, or to the view if all of that is new.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  // In fields the keys of the page are off: none is gone to unasked.
  const all = () => /** @type {HTMLElement[]} */ ([...element.querySelectorAll('a, button, summary, [tabindex]')]);
  const focused = document.activeElement;
  if (focused && element.contains(focused))
    lost = { element, focused, key: focused.closest('[data-key]')?.getAttribute('data-key'), at: all().indexOf(/** @type {HTMLElement} */ (focused)) };
  element.replaceChildren(...kept(children));
  if (lost?.element !== element) return;
  const { focused: before, key, at } = lost;
  const found = all();
  const same = /** @type {HTMLElement[]} */ ([...element.querySelectorAll('[data-key]')]).find((node) => node.dataset.key === key);
  const again = same ?? (element.matches('.view, main') ? null : found[Math.min(at, found.length - 1)]) ?? document.querySelector('main');
  if (document.activeElement === document.body) {
    // Until it can be used again.
    if (again?.matches(':disabled')) return;
    again?.focus({ preventScroll: true });
    if (same && before instanceof HTMLInputElement && same instanceof HTMLInputElement && before.type === 'text') {
      same.value = before.value;
      same.setSelectionRange(before.selectionStart, before.selectionEnd);
    }
  }
  lost = null;
}

/**
 * An element whose content follows the state.
 * @template {unknown[] | []} T
 * @template {HTMLElement} E
 * @param {Store} store
 * @param {AbortSignal} signal
 * @param {E} element
 * @param {(state: State) => T} select
 * @param {(values: NoInfer<T>) => Child} render
 * @returns {E}
 */
export function live(store, signal, element, select, render) {
  store.watch(select, (values) => fill(element, render(values)), signal);
  return element;
}

/**
 * An element that is built anew when what `select` gives has changed; what watches inside ends with it.
 * @template {unknown[] | []} T
 * @param {Store} store
 * @param {AbortSignal} signal
 * @param {(state: State) => T} select
 * @param {(values: NoInfer<T>, signal: AbortSignal) => Node[]} build
 */
export function renewed(store, signal, select, build) {
  const root = h('div', { class: 'view' });
  /** @type {AbortController | undefined} */
  let inner;
  store.watch(
    select,
    (values) => {
      inner?.abort();
      inner = new AbortController();
      fill(root, build(values, AbortSignal.any([signal, inner.signal])));
    },
    signal,
  );
  return [root];
}

/** Resolves when a frame has been painted; hidden tabs get none. */
export const nextFrame = () =>
  new Promise((done) => (document.hidden ? setTimeout(done) : requestAnimationFrame(() => setTimeout(done))));

/** Longest stretch of work between two frames, in milliseconds. */
const SLICE = 10;

/**
 * Does something for each of many, as many per frame as fit.
 * @template T
 * @param {Iterable<T>} items @param {(item: T) => void} act
 * @param {() => boolean} [over] tells that nobody waits for the rest any more
 */
export async function inSlices(items, act, over = () => false) {
  let began = performance.now();
  for (const item of items) {
    act(item);
    if (performance.now() - began < SLICE) continue;
    await nextFrame();
    if (over()) return;
    began = performance.now();
  }
}

/**
 * A button.
 * @param {Child} label
 * @param {(event: MouseEvent) => void} onClick
 * @param {Props} [props]
 */
export function button(label, onClick, props = {}) {
  return h('button', { type: 'button', ...props, on: { ...props.on, click: onClick } }, label);
}

/** Keeps a popover by its button, and inside the window. @param {HTMLElement} menu @param {HTMLElement} by */
export const under = (menu, by) =>
  menu.addEventListener('toggle', () => {
    const { left, bottom } = by.getBoundingClientRect();
    menu.style.setProperty('--x', `${Math.max(8, Math.min(left, innerWidth - menu.offsetWidth - 8))}px`);
    menu.style.setProperty('--y', `${Math.max(8, Math.min(bottom + 4, innerHeight - menu.offsetHeight - 8))}px`);
  });

/** A box to check, with what it means. @param {string} key @param {boolean} checked @param {Child} text @param {() => void} change */
export const checkbox = (key, checked, text, change) =>
  h('label', null, h('input', { type: 'checkbox', checked, 'data-key': key, on: { change } }), ' ', text);

/**
 * A choice among few: a native select.
 * @param {string} label
 * @param {[value: string, text: string, disabled?: boolean][]} options
 * @param {string} value
 * @param {(value: string) => void} onChange
 * @param {Props} [props]
 */
export function select(label, options, value, onChange, props = {}) {
  return h(
    'select',
    {
      'aria-label': label,
      'data-key': label,
      ...props,
      on: { change: (/** @type {Event} */ event) => onChange(/** @type {HTMLSelectElement} */ (event.target).value) },
    },
    options.map(([key, text, disabled]) => h('option', { value: key, selected: key === value, disabled }, text)),
  );
}

/**
 * Buttons of which one is pressed.
 * @param {string} label
 * @param {[value: string, text: Child][]} options
 * @param {string} value
 * @param {(value: string) => void} onChange
 */
export function segmented(label, options, value, onChange) {
  return h(
    'div',
    { class: 'segmented', role: 'group', 'aria-label': label },
    options.map(([key, text]) =>
      button(text, () => onChange(key), { 'aria-pressed': key === value, 'data-key': `${label} ${key}` }),
    ),
  );
}

/** A choice of a scale. @param {string} label @param {boolean} log @param {(log: boolean) => void} onLog */
export const scaleChoice = (label, log, onLog) =>
  segmented(
    label,
    [
      ['linear', 'Linear'],
      ['log', 'Log'],
    ],
    log ? 'log' : 'linear',
    (value) => onLog(value === 'log'),
  );

/** A table whose rows are named by their first cell. @param {Child[]} head @param {Child[][]} rows @param {number} numeric the first column of numbers */
export const plainTable = (head, rows, numeric) => {
  const kind = (/** @type {number} */ i) => (i < numeric ? null : 'numeric');
  return h(
    'table',
    { class: 'plain' },
    h('thead', null, h('tr', null, head.map((cell, i) => h('th', { scope: 'col', class: kind(i) }, cell)))),
    h('tbody', null, rows.map((cells) => h('tr', null, cells.map((cell, i) => h(i ? 'td' : 'th', { scope: i ? null : 'row', class: kind(i) }, cell))))),
  );
};

/** Terms with their values; those without a value are left out. @param {[term: Child, value: Child][]} pairs */
export const facts = (pairs) =>
  h(
    'dl',
    { class: 'facts' },
    pairs.flatMap(([term, value]) => (value ? [h('dt', null, term), h('dd', null, value)] : [])),
  );

/** One of several facts side by side. @param {string} label @param {...Child} value */
export const item = (label, ...value) => h('div', null, h('dt', null, label), h('dd', null, value));

/** @type {Record<string, string>} paths of the icons, in a box of 16 × 16 */
const ICONS = {
  ok: 'M3 8.5 6.5 12 13 4.5',
  error: 'M8 1.5a6.5 6.5 0 1 0 .01 0ZM5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6',
  warning: 'M8 2 1.5 13.5h13ZM8 6.5v3.5M8 11.7v.6',
  note: 'M8 1.5a6.5 6.5 0 1 0 .01 0ZM8 7.2v4M8 4.6v.6',
  wait: 'M8 1.5a6.5 6.5 0 1 0 .01 0ZM8 4.5V8l2.5 1.5',
  open: 'M8 2.5a5.5 5.5 0 1 0 .01 0Z',
  delta: 'M8 2.5 14 13.5H2Z',
  base: 'M2.5 2.5h11v11h-11Z',
  finetuned: 'M2.5 2.5h11v11h-11ZM8 5v6M5 8h6',
  spare: 'M2.5 2.5h11v11h-11ZM5 8h6',
  unknown: 'M5.5 6a2.5 2.5 0 1 1 3.6 2.2C8.3 8.7 8 9.2 8 10M8 12.2v.6',
  theme: 'M8 2a6 6 0 1 0 .01 0ZM8 2v12M10 3v10M12 5v6',
  down: 'M4 6.5 8 10.5 12 6.5',
};

/**
 * A small picture beside a word; it never stands for the word.
 * @param {string} name
 */
export function icon(name) {
  return svg(
    'svg',
    { class: `icon icon-${name}`, viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    svg('path', { d: ICONS[name] ?? ICONS.note }),
  );
}
