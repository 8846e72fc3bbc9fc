// @ts-check
// An error where it arose: what happened, where, what to do, and its code.

import { version } from '../api.js';
import { button, facts, h, icon } from '../dom.js';
import { details, meaning } from '../errors.js';
import { breakable, exact, name, plural, prose } from '../format.js';

/** @import { Finding, Problem } from '../types.js' */

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * A button that copies and says that it has.
 * @param {string} label @param {() => string | Promise<string>} text @param {import('../dom.js').Props} [props]
 */
export function copyButton(label, text, props = {}) {
  const element = button(
    label,
    async () => {
      const done = await copy(await text());
      element.textContent = done ? 'Copied' : 'Not allowed here';
      setTimeout(() => (element.textContent = label), 1500);
    },
    { class: 'quiet', 'aria-live': 'polite', ...props },
  );
  return element;
}

/** @type {Record<string, string>} */
const ACTIONS = {
  choose: 'Choose again…',
  base: 'Choose another base…',
  lineage: 'Look at the chain',
  fetch: 'Download the whole file',
  retry: 'Try again',
  reload: 'Reload',
};

/** What can be offered at a place. @typedef {Partial<Record<'choose' | 'base' | 'lineage' | 'fetch' | 'retry' | 'reload', (problem: Problem) => unknown>>} Fixes */

/** @param {Problem} problem @param {Fixes} [actions] */
export function problemView(problem, actions = {}) {
  const { title } = meaning(problem.code);
  // Who cancels knows why: there is nothing to explain or to report.
  const calm = problem.code === 'ABORTED';
  return h(
    'div',
    { class: calm ? 'problem calm' : 'problem', 'data-code': problem.code },
    calm
      ? null
      : [
          h('p', { class: 'status error' }, icon('error'), h('strong', null, ` ${title}`)),
          // Of a wrong base the advice says what to open.
          h('p', null, prose(problem.message.replace(/; give th(at one|e delta).*/, ''))),
        ],
    remedy(problem, actions, calm),
  );
}

/**
 * A problem of one file among several: a line that unfolds.
 * @param {string} file @param {Problem} problem @param {Fixes} actions @param {boolean} open
 */
export function problemLine(file, problem, actions, open) {
  const line = h(
    'details',
    { class: 'problem', 'data-code': problem.code, 'data-key': `problem ${file}` },
    h(
      'summary',
      null,
      h('span', { class: 'status error' }, icon('error'), ' '),
      name(file, 32),
      h('strong', null, ` ${meaning(problem.code).title}. `),
      prose(problem.message),
    ),
    remedy(problem, actions),
  );
  line.open = open;
  return line;
}

/** What to do about a problem, and where it arose. @param {Problem} problem @param {Fixes} actions @param {boolean} [calm] */
function remedy(problem, actions, calm) {
  const { advice, action } = meaning(problem.code);
  const offered = [...new Set([action, problem.retryable ? /** @type {const} */ ('retry') : undefined])].filter(
    (id) => id && actions[id],
  );
  return [
    // Where a message says what to do it is not said again; and what is said of a disk does not hold for a link.
    /get .+ again/.test(problem.message) || (problem.code === 'IO' && problem.source?.includes('://')) ? null : h('p', null, advice),
    calm
      ? null
      : facts([
          ['File', problem.source && name(problem.source)],
          ['Tensor', problem.tensor !== undefined && name(problem.tensor)],
          ['Offset', problem.offset !== undefined && exact(problem.offset)],
          ['Code', h('code', null, problem.code)],
        ]),
    h(
      'div',
      { class: 'actions' },
      offered.map((id) =>
        button(ACTIONS[id ?? ''], () => actions[/** @type {keyof typeof actions} */ (id)]?.(problem), {
          'data-key': `fix ${id}`,
        }),
      ),
      calm ? null : copyButton('Copy details', async () => details(problem, await version().catch(() => 'unknown'))),
    ),
  ];
}

/** Tensors of one finding that are listed without being asked for. */
const FOLDED = 6;

/**
 * What was noticed, errors first; each leads to its tensor.
 * @param {Finding[]} findings @param {((tensor: string) => void) | null} onSelect @param {number} [most] that are listed
 */
export function findingList(findings, onSelect, most = 200) {
  if (!findings.length) return h('p', { class: 'status ok' }, icon('ok'), ' Nothing noticed.');
  const order = ['error', 'warning', 'note'];
  const sorted = [...findings].sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
  /** The same said of several tensors is said once. @type {Map<string, Finding[]>} */
  const groups = new Map();
  for (const finding of sorted.slice(0, most)) {
    const key = `${finding.code} ${finding.message}`;
    if (!groups.get(key)?.push(finding)) groups.set(key, [finding]);
  }
  return h(
    'ul',
    { class: 'findings' },
    [...groups.values()].map((group) => {
      const [{ severity, code, message }] = group;
      const names = group.flatMap(({ tensor }) =>
        tensor === undefined
          ? []
          : [h('div', null, onSelect ? button(breakable(tensor), () => onSelect(tensor), { class: 'link' }) : name(tensor))],
      );
      return h(
        'li',
        null,
        h('span', { class: `status ${severity}` }, icon(severity), ` ${severity}`),
        h(
          'div',
          null,
          prose(message),
          ' ',
          severity === 'error' ? h('code', { class: 'muted' }, code) : null,
          names.length > FOLDED
            ? h('details', null, h('summary', null, plural(names.length, 'tensor')), names)
            : names,
        ),
      );
    }),
    sorted.length > most
      ? h(
          'li',
          { class: 'muted' },
          `and ${exact(sorted.length - most)} more${onSelect ? '; the table lists all of them' : ''}.`,
        )
      : null,
  );
}
