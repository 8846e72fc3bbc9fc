// @ts-check
// Make: base and fine-tune give a delta, its size known before the start.

import { button, facts, h } from '../dom.js';
import { bytes, exact, middle, number, optionText, percent, plain, plural } from '../format.js';
import { chainOf, sourcesOf } from '../model/chain.js';
import { entryOf, isModel } from '../model/rows.js';
import { blocked, destinationChoice, entrySelect, radio, textField } from '../components/parts.js';
import { findingList } from '../components/problem.js';
import { MEMORY_LIMIT } from '../output/destination.js';
import { workView } from '../components/work.js';
import { isPlan, planChecks, roomChecks } from './rebuild.js';

/** @import { App } from '../app.js' */
/** @import { Check } from '../components/parts.js' */
/** @import { EncodeReport, EncodedTensor, Plan, State, Strategy } from '../types.js' */

/** @type {[id: Strategy, note: string][]} */
export const STRATEGIES = [
  ['lossless', 'Every bit of the fine-tune comes back.'],
  ['lossy', 'Close to the fine-tune, as small as its quality says.'],
  ['int4', 'Sixteen levels per tensor, the largest changes apart.'],
  ['sparse', 'Only the largest changes, each exact; the rest is dropped.'],
  ['quantized', 'One sign per value, one scale per row: the roughest.'],
];

/** Names what a plan was made for. @param {State} state @param {Strategy} [strategy] */
export function makeKey(state, strategy = state.make.strategy) {
  const options = JSON.stringify(optionsOf(state.make, strategy));
  const parents = parentsOf(state).map(({ id }) => id);
  return ['encode', entryOf(state, 'base')?.id, entryOf(state, 'finetuned')?.id, strategy, options, ...parents].join(' ');
}

/** The deltas that lead from the base to what the new one is made against. @param {State} state */
export const parentsOf = (state) => (state.make.against === 'chain' ? chainOf(state) : []);

/** What is read: base, fine-tune and the deltas between; nothing before both models are there. @param {State} state */
export function makeInputs(state) {
  const base = entryOf(state, 'base')?.source;
  const finetuned = entryOf(state, 'finetuned')?.source;
  return base && finetuned && { base, finetuned, parents: sourcesOf(parentsOf(state)) };
}

/** What a strategy is given, as it was typed: the package says what it cannot take. @param {State['make']} make @param {Strategy} strategy @returns {Record<string, string>} */
function optionsOf({ outlierFraction, sparsity, quality, ratio }, strategy) {
  if (strategy === 'int4') return { outlierFraction };
  if (strategy === 'sparse') return { sparsity };
  if (strategy !== 'lossy') return {};
  return ratio ? { ratio } : { quality };
}

/** @param {State} state @param {Strategy} [strategy] the options for the package */
export const makeOptions = ({ make }, strategy = make.strategy) => ({
  strategy,
  ...optionsOf(make, strategy),
  ...(make.baseName ? { baseName: make.baseName } : {}),
});

/** How a delta is made, in words: by which strategy, and what that is given. @param {State} state */
export const wayOf = ({ make }) =>
  [make.strategy, ...Object.entries(optionsOf(make, make.strategy)).map((each) => optionText(...each))].join(', ');

/** @param {State} state */
export const makeName = (state) =>
  state.make.name ||
  `${(entryOf(state, 'finetuned')?.name ?? 'fine-tune').replace(/\.safetensors$/i, '')}${state.make.strategy === 'lossless' ? '' : `-${state.make.strategy}`}.wdelta`;

/** @param {App} app @param {AbortSignal} signal */
export const makeView = (app, signal) =>
  workView(app, signal, {
    kind: 'make',
    title: 'Make',
    start: 'Make delta',
    lacks: (state) => {
      const [base, finetuned] = [Boolean(entryOf(state, 'base')), Boolean(entryOf(state, 'finetuned'))];
      const last = chainOf(state).at(-1);
      return base && finetuned
        ? null
        : [
            'Make a delta',
            [
              [base, 'The base model: a .safetensors file, or a folder with shards.'],
              [
                finetuned,
                'The fine-tune: the second model opened, unless its chip says otherwise.',
              ],
            ],
            last && (entryOf(state, 'base')?.size ?? Infinity) <= MEMORY_LIMIT ? [`Rebuild it from ${middle(plain(last.name), 32)}`, () => void app.actions.finetune()] : undefined,
          ];
    },
    plan: (state) => {
      for (const [id] of STRATEGIES) void app.actions.plan(makeKey(state, id), false, id);
    },
    form: formOf,
    preflight,
    result: (saved) => {
      const made = /** @type {EncodeReport} */ (saved.result);
      return [madeView(made), seeMade(app, made)];
    },
  });

/** Whether the values decide the size, so that it is told from a sample before the start. @param {string} strategy */
export const isEstimate = (strategy) => strategy === 'lossless' || strategy === 'lossy';

/** Whether the size is still, or stays, unknown. @param {Plan} plan @param {string} strategy */
const awaits = (plan, strategy) => isEstimate(strategy) && !plan.sample && !plan.exact;

/** @param {State} state @param {Strategy} strategy */
function sizeOf(state, strategy) {
  const plan = state.plans.get(makeKey(state, strategy));
  if (!isPlan(plan)) return plan ? 'not possible' : '…';
  if (awaits(plan, strategy)) return plan.sample === null ? 'not known' : blocked(state) ? '–' : 'estimating…';
  // What follows from the shapes is taken by tensors that changed; others take less.
  return `${plan.exact ? '' : plan.sample ? '≈ ' : '≤ '}${bytes(plan.bytes)}`;
}

/** @param {App} app */
function formOf({ store, actions }) {
  const { state } = store;
  const models = state.entries.filter(isModel);
  const busy = Boolean(blocked(state));
  const set = (/** @type {Partial<State['make']>} */ values) => store.dispatch({ type: 'merge', part: 'make', values });
  const plan = state.plans.get(makeKey(state));
  const size = isPlan(plan) && !awaits(plan, state.make.strategy) ? plan.bytes : 0;
  const { make } = state;
  const chain = chainOf(state);
  const decimal = (/** @type {string} */ label, /** @type {'outlierFraction' | 'sparsity' | 'quality' | 'ratio'} */ key, off = busy) =>
    textField(label, make[key], (value) => set({ [key]: value }), { inputmode: 'decimal', disabled: busy || off });
  return [
    entrySelect('Base', models, entryOf(state, 'base')?.id ?? null, (id) => actions.setRole(id, 'base')),
    entrySelect('Fine-tune', models, entryOf(state, 'finetuned')?.id ?? null, (id) => actions.setRole(id, 'finetuned')),
    chain.length
      ? h(
          'fieldset',
          { disabled: busy },
          h('legend', null, 'Made against'),
          radio('against', 'base', make.against, 'The base', '', () => set({ against: 'base' })),
          radio(
            'against',
            'chain',
            make.against,
            `The base with ${plural(chain.length, 'delta')}`,
            `As chosen in Rebuild: ${chain.map((entry) => plain(entry.name)).join(', ')}. The new delta continues that chain.`,
            () => set({ against: 'chain' }),
          ),
        )
      : null,
    h(
      'fieldset',
      { disabled: busy },
      h('legend', null, 'Strategy'),
      STRATEGIES.map(([id, note]) => {
        const option = radio('strategy', id, make.strategy, id, note, () => set({ strategy: id }));
        option.append(h('span', { class: 'num size' }, sizeOf(state, id)));
        return option;
      }),
    ),
    make.strategy === 'int4' ? decimal('Share of outliers kept apart', 'outlierFraction') : null,
    make.strategy === 'sparse' ? decimal('Share of values dropped', 'sparsity') : null,
    make.strategy === 'lossy'
      ? [
          decimal('Quality, 1 (smallest) to 100 (lossless)', 'quality', Boolean(make.ratio)),
          decimal('Or: how many times smaller than the fine-tune', 'ratio'),
        ]
      : null,
    textField('Where to get the base (optional)', make.baseName, (baseName) => set({ baseName }), {
      disabled: busy,
      placeholder: 'owner/model',
    }),
    textField('File name', makeName(state), (text) => set({ name: text }), { disabled: busy }),
    destinationChoice(size, false, state.to, (to) => store.set({ to }), busy),
  ];
}

/** @param {App} app */
function preflight(app) {
  const { store, actions } = app;
  const { state } = store;
  const plan = state.plans.get(makeKey(state));
  const finetuned = entryOf(state, 'finetuned');
  const { strategy, quality, ratio } = state.make;
  /** @type {Check[]} */
  const checks = planChecks(
    plan,
    isPlan(plan)
      ? isEstimate(strategy)
        ? `${plural(plan.tensors, 'tensor')}; any that the base lacks are stored whole.`
        : `All ${plural(plan.tensors, 'tensor')} are on both sides, with the same shapes.`
      : '',
    actions.fixes({ retry: () => actions.plan(makeKey(state), true, strategy) }),
  );
  if (isPlan(plan)) {
    if (awaits(plan, strategy)) {
      if (checks[0].mood === 'ok')
        checks.push(
          plan.sample === undefined && !blocked(state)
            ? { mood: 'wait', text: 'Encoding a sample to estimate the size' }
            : { mood: 'note', text: 'The size is not known before the delta is made.' },
        );
    } else {
      checks.push(...roomChecks(app, plan));
      if (finetuned && plan.bytes)
        checks.push({
          mood: 'note',
          text: `${plan.exact ? '' : 'About '}${number(finetuned.size / plan.bytes)}× smaller than the fine-tune.`,
        });
    }
  }
  if (isPlan(plan) && strategy === 'lossy' && (ratio ? Number(ratio) > 30 : Number(quality) < 40))
    checks.push({
      mood: 'warning',
      text: ratio || Number(quality) > 30 ? 'The result may be further from the fine-tune than this size is worth.' : 'The result can be worse than the base.',
    });
  return { checks, ready: isPlan(plan) };
}

/** @param {EncodedTensor} tensor */
const isUnchanged = ({ unchanged, elements }) => unchanged === elements;

/** @param {EncodeReport} result */
function madeView(result) {
  const other = result.tensors.filter((tensor) => !isUnchanged(tensor) && tensor.strategy !== tensor.requested).length;
  return [
    facts([
      ['Error of the delta', result.strategy === 'lossless' ? 'none: every bit comes back' : result.relativeError === null ? '–' : `${percent(result.relativeError)} of the change (RMS)`],
      ['Against the fine-tune', `${number(result.finetunedBytes / result.bytes)}× smaller`],
      ['Unchanged tensors', exact(result.tensors.filter(isUnchanged).length)],
      // Version 2 chooses an operation for each tensor, by size.
      [
        'Stored otherwise',
        result.version === 1 && (other ? `${plural(other, 'tensor')}, because the strategy would have spoilt them` : 'none'),
      ],
    ]),
    result.findings.length ? findingList(result.findings, null) : null,
  ];
}

/** @param {App} app @param {EncodeReport} result */
function seeMade({ store, actions }, result) {
  const entry = store.state.entries.find(({ made }) => made === result);
  const [label, measure] = result.strategy === 'lossless' ? ['See it in Inspect', 'bytes'] : ['See the error per tensor', 'error'];
  return entry && button(label, () => actions.activate(entry.id, 'inspect', measure), { 'data-key': 'see made' });
}
