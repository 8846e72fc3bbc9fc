// @ts-check
// Small parts that several views use.

import { button, h, icon, select } from '../dom.js';
import { bytes, duration, name, shortHash } from '../format.js';
import { destinations, download } from '../output/destination.js';
import { copyButton } from './problem.js';

/** @import { App } from '../app.js' */
/** @import { Child } from '../dom.js' */
/** @import { Entry, Job, JobKind, Saved, State } from '../types.js' */

/** Milliseconds without a key after which a text counts as typed. */
const TYPING_PAUSE = 400;

/** A hash: twelve digits, all of them to copy. @param {string} hash */
export const hashView = (hash) =>
  h(
    'span',
    { class: 'hash' },
    h('code', { title: hash }, shortHash(hash)),
    copyButton('Copy', () => hash, { 'aria-label': `Copy hash ${shortHash(hash)}` }),
  );

/**
 * A word with its icon.
 * @param {'ok' | 'error' | 'warning' | 'note' | 'wait' | 'open'} mood
 * @param {...Child} words
 */
export const status = (mood, ...words) => h('span', { class: `status ${mood}` }, icon(mood), ' ', ...words);

/**
 * One line of a check before work.
 * @typedef {{ mood: 'ok' | 'error' | 'warning' | 'note' | 'wait' | 'open', text: Child, more?: Child }} Check
 *   an error or what is open bars the start
 */

/** @param {Check[]} checks */
export const checklist = (checks) =>
  h(
    'ul',
    { class: 'checklist' },
    checks.map(({ mood, text, more }) =>
      h(
        'li',
        { 'data-mood': mood },
        h(
          'span',
          { class: `status ${mood}` },
          icon(mood),
          h(
            'span',
            { class: 'sr' },
            { ok: 'fine', error: 'blocking', warning: 'attention', note: 'note', wait: 'waiting', open: 'missing' }[
              mood
            ],
          ),
        ),
        h('div', null, text, more ? h('div', { class: 'more' }, more) : null),
      ),
    ),
  );

/**
 * One of several options.
 * @param {string} group @param {string} value @param {string} current @param {string} label @param {string} note
 * @param {() => void} onChoose @param {boolean} [disabled]
 */
export const radio = (group, value, current, label, note, onChoose, disabled) =>
  h(
    'label',
    { class: 'option' },
    h('input', {
      type: 'radio',
      name: group,
      value,
      disabled,
      checked: value === current,
      'data-key': `${group} ${value}`,
      on: { change: onChoose },
    }),
    h('span', null, label, note ? h('span', { class: 'muted' }, note) : null),
  );

/**
 * Where the result goes.
 * @param {number} size @param {boolean} folder @param {string} chosen @param {(id: string) => void} onChoose @param {boolean} busy
 */
export function destinationChoice(size, folder, chosen, onChoose, busy) {
  return h(
    'fieldset',
    { disabled: busy },
    h('legend', null, 'Where to'),
    destinations(size, folder).map(({ id, label, note, available }) =>
      radio('to', id, destinationOf(size, folder, chosen) ?? '', label, note, () => onChoose(id), !available),
    ),
  );
}

/** @param {number} size @param {boolean} folder @param {string} chosen @returns {import('../types.js').Destination['id'] | undefined} */
export function destinationOf(size, folder, chosen) {
  const ways = destinations(size, folder).filter(({ available }) => available);
  return (ways.find(({ id }) => id === chosen) ?? ways[0])?.id;
}

/**
 * A choice among the entries of the tray.
 * @param {string} label @param {Entry[]} entries @param {string | null} value @param {(id: string) => void} onChange
 */
export function entrySelect(label, entries, value, onChange) {
  const options = entries.map(({ id, name, size }) => /** @type {[string, string]} */ ([id, `${name} · ${bytes(size)}`]));
  if (!entries.some(({ id }) => id === value)) options.unshift(['', '–']);
  return h(
    'label',
    { class: 'field' },
    h('span', null, label),
    select(label, options, value ?? '', onChange, { 'aria-label': null, 'data-key': `entry ${label}` }),
  );
}

/**
 * A text field that reports when typing pauses or ends.
 * @param {string} label @param {string} value @param {(value: string) => void} onChange @param {import('../dom.js').Props} [props]
 */
export function textField(label, value, onChange, props = {}) {
  let pause = 0;
  const report = () => {
    clearTimeout(pause);
    onChange(input.value);
  };
  const input = h('input', {
    type: 'text',
    value,
    autocomplete: 'off',
    spellcheck: 'false',
    'data-key': `text ${label}`,
    ...props,
    on: {
      change: report,
      input: () => {
        clearTimeout(pause);
        pause = setTimeout(report, TYPING_PAUSE);
      },
    },
  });
  return h('label', { class: 'field' }, h('span', null, label), input);
}

/**
 * An empty part of a view: what is missing, and how to get it.
 * @param {App} app @param {string} title @param {[done: boolean, text: Child][]} needs @param {[label: string, act: () => void]} [own] another way
 */
export function missing({ store, actions }, title, needs, own) {
  return h(
    'section',
    { class: 'missing' },
    h('h1', null, title),
    checklist(needs.map(([done, text]) => ({ mood: done ? 'ok' : 'open', text }))),
    h(
      'div',
      { class: 'actions' },
      button('Open files…', () => actions.pickFiles(), { class: 'primary' }),
      button('Open folder…', () => actions.pickFolder()),
      own && button(...own),
      !store.state.entries.some((entry) => entry.sample) ? button('Try the sample', () => actions.sample()) : null,
    ),
  );
}

/** @param {App} app @param {Saved} saved @param {Child} [extra] @param {Child} [action] */
export function savedView({ actions }, { title, files, where, copy, report, seconds }, extra, action) {
  return h(
    'section',
    { class: 'saved' },
    h('h2', { tabindex: -1, 'data-result': '', 'data-key': `result ${title}` }, icon('ok'), ` ${title}`),
    h(
      'p',
      null,
      `${bytes(files.reduce((sum, { size }) => sum + size, 0))} in ${duration(seconds)}, in ${where}.`,
    ),
    extra ?? null,
    h(
      'div',
      { class: 'actions' },
      files
        .filter(({ blob }) => blob)
        .map(({ name: file, size, blob }, i) =>
          button(['Download ', name(file, 40), ` · ${bytes(size)}`], () => blob && download(blob, file), {
            class: i ? '' : 'primary',
            'data-key': `save ${file}`,
          }),
        ),
      copy && files.some(({ blob }) => blob)
        ? button('Delete private copy', () => actions.removeCopy(copy), { 'data-key': `drop ${copy}` })
        : null,
      button('Save report', () =>
        download(
          new Blob([JSON.stringify(report, null, 2)], { type: 'application/json' }),
          `${files[0]?.name ?? 'wdelta'}.report.json`,
        ),
      ),
      action,
    ),
  );
}

/** Whether a job may start now, and why not. @param {State} state @returns {string | null} */
export const blocked = ({ job }) =>
  job?.state === 'running' || job?.state === 'cancelling' ? `${job.title} is running.` : null;

/** @param {Job | null} job @param {JobKind} kind */
export const isRunning = (job, kind) => job?.kind === kind && (job.state === 'running' || job.state === 'cancelling');
