// @ts-check
// Rebuild: base and deltas give the fine-tune back, checked before, while and after it is written.

import { button, facts, h, select } from '../dom.js';
import { meaning } from '../errors.js';
import { bytes, exact, name, percent, plain, plural, prose } from '../format.js';
import { chainOf, checkKey, isBroken, knownPath, readyDeltas } from '../model/chain.js';
import { entryOf, isModel, leansOnBase } from '../model/rows.js';
import { blocked, destinationChoice, entrySelect, hashView, radio, status, textField } from '../components/parts.js';
import { findingList, problemView } from '../components/problem.js';
import { workView } from '../components/work.js';

/** @import { App } from '../app.js' */
/** @import { Check } from '../components/parts.js' */
/** @import { DecodeReport, Entry, Finding, Plan, Problem, State } from '../types.js' */

/** @param {Plan | Problem | null | undefined} plan @returns {plan is Plan} whether there is one, and not what kept it from being made */
export const isPlan = (plan) => Boolean(plan && 'outputs' in plan);

/** Numbers and files of the result: version 2 gives the fine-tune's own. @param {State} state */
export const formOf = (state) =>
  leansOnBase(chainOf(state).at(-1)) ? {} : { dtype: state.rebuild.dtype, layout: state.rebuild.layout };

/** Names what a plan was made for. @param {State} state */
export const rebuildKey = (state) =>
  ['decode', entryOf(state, 'base')?.id, ...chainOf(state).map(({ id }) => id), ...Object.values(formOf(state))].join(' ');

/** The name that the result gets unless another is typed. @param {State} state */
export function rebuildName(state) {
  if (state.rebuild.name) return state.rebuild.name;
  const last = chainOf(state).at(-1);
  return `${last ? last.name.replace(/\.wdelta$/i, '') : 'model'}.safetensors`;
}

/** @param {App} app @param {AbortSignal} signal */
export function rebuildView(app, signal) {
  const { store, actions } = app;
  // The sample's model is code of its own, loaded when there is something to run it with.
  const tried = h('div');
  store.watch(
    (state) => [Boolean(entryOf(state, 'base')?.sample)],
    async ([shown]) => {
      if (!shown || tried.firstChild) return;
      const { tryPanel } = await import('../sample/panel.js');
      if (!signal.aborted && !tried.firstChild) tried.append(tryPanel(app, signal));
    },
    signal,
  );
  return workView(app, signal, {
    kind: 'rebuild',
    title: 'Rebuild',
    start: 'Rebuild model',
    lacks: (state) =>
      readyDeltas(state).length || entryOf(state, 'base')
        ? null
        : [
            'Rebuild a fine-tune',
            [
              [false, 'One or more .wdelta files.'],
              [false, 'The base model: a .safetensors file, or a folder with shards.'],
            ],
          ],
    plan: (state) => {
      if (readyDeltas(state).length > 1) void actions.lineage(true);
      if (entryOf(state, 'base') && chainOf(state).length) void actions.plan(rebuildKey(state));
    },
    form: choices,
    preflight,
    result: ({ result }) => [resultFacts(/** @type {DecodeReport} */ (result))],
    below: tried,
  });
}

/** @param {App} app */
function choices({ store, actions }) {
  const { state } = store;
  const { dtype, layout } = formOf(state);
  const deltas = readyDeltas(state);
  const chain = chainOf(state);
  const models = state.entries.filter(isModel);
  const base = entryOf(state, 'base');
  const busy = Boolean(blocked(state));
  const set = (/** @type {Partial<State['rebuild']>} */ values) =>
    store.dispatch({ type: 'merge', part: 'rebuild', values });
  const setChain = (/** @type {Entry[]} */ entries) => store.set({ chain: entries.map(({ id }) => id) });
  const plan = state.plans.get(rebuildKey(state));
  const outputs = isPlan(plan) ? plan.outputs : [];
  const spare = deltas.filter((entry) => !chain.includes(entry));
  const next = spare.find(({ id }) => id === state.rebuild.next) ?? spare.find((entry) => knownPath(state, entry)?.at(-2) === chain.at(-1)) ?? spare[0];
  return [
    models.length
      ? entrySelect('Base', models, base?.id ?? null, (id) => actions.setRole(id, 'base'))
      : h(
          'p',
          null,
          status('open', 'Base: not open yet. '),
          button('Open the base…', () => actions.pickFiles()),
        ),
    h(
      'fieldset',
      { disabled: busy },
      h('legend', null, 'Deltas, in order'),
      h(
        'ol',
        { class: 'steps' },
        chain.map((entry, i) =>
          h(
            'li',
            null,
            name(entry.name, 48),
            h('span', { class: 'num muted' }, ` ${bytes(entry.size)}`),
            h(
              'span',
              { class: 'inline' },
              i > 0
                ? button('Up', () => setChain(chain.toSpliced(i - 1, 2, entry, chain[i - 1])), {
                    class: 'quiet',
                    'aria-label': `Move ${plain(entry.name)} up`,
                    'data-key': `up ${entry.id}`,
                  })
                : null,
              button('Remove', () => setChain(chain.filter((other) => other !== entry)), {
                class: 'quiet',
                'aria-label': `Remove ${plain(entry.name)} from the chain`,
                'data-key': `out ${entry.id}`,
              }),
            ),
          ),
        ),
      ),
      next
        ? h(
            'div',
            { class: 'add' },
            // Keys walk through a list that is closed: what they come by is not yet meant.
            select('Next delta', spare.map(({ id, name }) => /** @type {[string, string]} */ ([id, plain(name)])), next.id, (id) => set({ next: id })),
            button('Add', () => setChain([...chain, next]), { 'data-key': 'add' }),
          )
        : null,
    ),
    dtype
      ? h(
          'fieldset',
          { disabled: busy },
          h('legend', null, 'Numbers'),
          radio('dtype', 'base', dtype, 'As the base stores them', 'bf16 stays bf16.', () =>
            set({ dtype: 'base' }),
          ),
          radio('dtype', 'float32', dtype, 'float32', 'Exactly what deltatensors computes.', () => set({ dtype: 'float32' })),
        )
      : null,
    layout && (base?.files ?? 1) > 1
      ? h(
          'fieldset',
          { disabled: busy },
          h('legend', null, 'Files'),
          radio('layout', 'auto', layout, 'Shards, as the base has them', 'With its file names and sizes.', () =>
            set({ layout: 'auto' }),
          ),
          radio('layout', 'single', layout, 'One file', '', () => set({ layout: 'single' })),
        )
      : null,
    outputs.length > 1
      ? null
      : textField('File name', rebuildName(state), (text) => set({ name: text }), { disabled: busy }),
    destinationChoice(
      outputs.reduce((sum, { size }) => sum + size, 0),
      outputs.length > 1,
      state.to,
      (to) => store.set({ to }),
      busy,
    ),
  ];
}

/** @param {App} app */
function preflight(app) {
  const { store, actions } = app;
  const { state } = store;
  const base = entryOf(state, 'base');
  const chain = chainOf(state);
  const plan = state.plans.get(rebuildKey(state));
  const why = blocked(state);
  /** @type {Check[]} */
  const checks = [
    chain.length ? { mood: 'ok', text: plural(chain.length, 'delta') } : { mood: 'open', text: 'No delta is chosen.' },
    base
      ? { mood: 'ok', text: ['Base: ', name(base.name, 40)] }
      : {
          mood: 'open',
          text: 'The base is not open.',
          more: chain[0]?.info?.baseName ? ['The delta names ', name(chain[0].info.baseName)] : null,
        },
  ];
  if (base && chain.length) {
    checks.push(
      ...planChecks(
        plan,
        // Version 2 brings what the base lacks.
        isPlan(plan) ? `All ${plural(plan.tensors, 'tensor')} are in the base or the delta.` : '',
        actions.fixes({ retry: () => actions.plan(rebuildKey(state), true) }),
      ),
    );
    if (isPlan(plan)) {
      const path = knownPath(state, chain.at(-1));
      const damaged = chain.find(({ id }) => typeof state.checks.get(id) === 'object');
      const other = path?.length !== chain.length || path.some((entry, i) => entry !== chain[i]);
      const broken = chain.find((entry) => isBroken(state, entry));
      checks.push(
        damaged ? damageCheck(app, damaged) : path && other ? orderCheck(app, path) : broken ? linkCheck(app, broken) : baseCheck(app, base, chain, why),
        ...roomChecks(app, plan),
      );
      const { version, loss } = chain[chain.length - 1].info ?? {};
      if (version === 1 || loss) checks.push({ mood: 'note', text: 'The result is close to the fine-tune, not equal to it.' });
    }
  }
  return { checks, ready: isPlan(plan) };
}

/**
 * What a plan found.
 * @param {Plan | Problem | null | undefined} plan @param {string} fine @param {Parameters<typeof problemView>[1]} fixes
 * @returns {Check[]}
 */
export function planChecks(plan, fine, fixes) {
  if (!plan) return [{ mood: 'wait', text: 'Comparing names and shapes' }];
  if (!isPlan(plan)) return [{ mood: 'error', text: problemView(plan, fixes) }];
  const errors = plan.problems.filter(({ severity }) => severity === 'error');
  const others = plan.problems.filter(({ severity }) => severity !== 'error');
  return [
    errors.length
      ? {
          mood: 'error',
          text: `${plural(errors.length, 'tensor does', 'tensors do')} not fit.`,
          more: findingList(errors, null, 5),
        }
      : { mood: 'ok', text: fine },
    ...others.map(
      (/** @type {Finding} */ { severity, message }) =>
        /** @type {Check} */ ({ mood: severity === 'warning' ? 'warning' : 'note', text: prose(message) }),
    ),
  ];
}

/** @param {App} app @param {Entry} base @param {Entry[]} chain @param {string | null} why @returns {Check} */
function baseCheck({ store, actions }, base, chain, why) {
  const [first] = chain;
  const { checks } = store.state;
  const ofAll = checks.get(checkKey(...chain, base));
  const found = ofAll ?? checks.get(checkKey(first, base));
  const { job } = store.state;
  const sure = knownPath(store.state, chain.at(-1));
  const more = chain.length > 1 ? ` The links between the deltas are ${sure ? 'verified' : 'checked while rebuilding'}.` : '';
  if (found === 1) return { mood: 'ok', text: `The base has the expected hash.${more}` };
  if (typeof found === 'object') {
    // What would mend the first delta mends no chain.
    const own = { retry: () => actions.verify(first, true), choose: () => actions.pickFiles(first.id) };
    return barred(job, found, actions.fixes(found === ofAll && chain[1] ? {} : own));
  }
  return {
    mood: 'note',
    text: `The base's hash is checked while rebuilding.${more}`,
    more: button(`Check it now, reads ${bytes(base.size + first.size)}`, () => actions.verify(first, true), {
      class: 'quiet',
      disabled: why,
      'data-key': 'check base',
    }),
  };
}

/** @param {App} app @param {Entry} entry that is damaged @returns {Check} */
const damageCheck = ({ store, actions }, entry) =>
  barred(
    store.state.job,
    /** @type {Problem} */ (store.state.checks.get(entry.id)),
    actions.fixes({ retry: () => actions.verify(entry, false), choose: () => actions.pickFiles(entry.id) }),
  );

/**
 * A problem that bars the start. The one that ended the last rebuild is shown in full there.
 * @param {State['job']} job @param {Problem} found @param {Parameters<typeof problemView>[1]} fixes @returns {Check}
 */
const barred = (job, found, fixes) => ({
  mood: 'error',
  text: job?.kind === 'rebuild' && job.problem === found ? `${meaning(found.code).title}; see below.` : problemView(found, fixes),
});

/** @param {App} app @param {Entry} entry whose link was held against the base and all deltas @returns {Check} */
const linkCheck = ({ actions }, { name: file }) => ({
  mood: 'error',
  text: `The link of ${plain(file)} is broken.`,
  more: [
    'A delta before it is missing, or the base is another one. ',
    button('Look at the chain', () => actions.go('lineage'), { class: 'quiet', 'data-key': 'link' }),
  ],
});

/** @param {App} app @param {Entry[]} path that leads to the last of the chosen deltas @returns {Check} */
const orderCheck = ({ actions }, path) => ({
  mood: 'error',
  text: 'These deltas do not follow each other like this.',
  more: [
    `From the base to ${plain(path[path.length - 1].name)}: ${path.map((entry) => plain(entry.name)).join(', ')}. `,
    button('Use this order', () => actions.rebuildChain(path.map(({ id }) => id)), { class: 'quiet', 'data-key': 'order' }),
  ],
});

/** @param {App} app @param {Plan} plan @returns {Check[]} */
export function roomChecks({ room }, plan) {
  const files = plan.outputs.length > 1 ? `${plural(plan.outputs.length, 'file')}, ` : '';
  const tight = room !== null && plan.bytes * 2 > room;
  const size = bytes(plan.bytes);
  return [
    {
      mood: 'ok',
      text: `Output: ${files}${plan.exact ? '' : 'about '}${size}`,
      more: h(
        'span',
        { class: 'num muted' },
        plan.sample
          ? `estimated from ${plan.sample < 1 ? `a sample of ${percent(plan.sample)}` : 'all tensors'}`
          : `${exact(plan.bytes)} B${plan.exact ? '' : ' if every tensor takes the strategy; unchanged ones take less'}`,
      ),
    },
    // Not every browser says how much room it has.
    ...(room === null
      ? []
      : [
          /** @type {Check} */ (
            tight
              ? {
                  mood: 'warning',
                  text: `Private storage has ${bytes(room)} left; with its download the result takes ${bytes(plan.bytes * 2)}.`,
                }
              : { mood: 'ok', text: `${bytes(room)} of room in private storage.` }
          ),
        ]),
  ];
}

/** @param {DecodeReport} result */
const resultFacts = ({ dtype, files, tensors, links, findings }) => [
  facts([
    ['Tensors', exact(tensors)],
    ['Verified hashes', links.map(({ expected }) => h('div', null, hashView(expected)))],
    ['Numbers', dtype !== 'base' && dtype],
    ['Files', files.length > 1 && files.map(({ path, size }) => h('div', null, name(path, 60), ` ${bytes(size)}`))],
  ]),
  findings.length ? findingList(findings, null) : null,
];
