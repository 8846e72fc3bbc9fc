// @ts-check
// What Rebuild and Make share: a form, the checks before the start, and what came of it.

import { button, fill, h, live } from '../dom.js';
import { jobArea } from './job.js';
import { blocked, checklist, missing, savedView } from './parts.js';

/** @import { App } from '../app.js' */
/** @import { Child } from '../dom.js' */
/** @import { Saved, State } from '../types.js' */
/** @import { Check } from './parts.js' */

/**
 * @param {App} app @param {AbortSignal} signal
 * @param {{
 *   kind: 'rebuild' | 'make', title: string, start: string,
 *   lacks(state: State): [title: string, needs: [done: boolean, text: Child][], own?: [label: string, act: () => void]] | null,
 *   plan(state: State): void,
 *   form(app: App): Child[],
 *   preflight(app: App): { checks: Check[], ready: boolean },
 *   result(saved: Saved): [Child, Child?],
 *   below?: Node,
 * }} work `lacks` says what is missing when nothing can be shown yet; `plan` asks for what the checks need; it is `ready` when there is a plan
 */
export function workView(app, signal, { kind, title, start, lacks, plan, form, preflight, result, below }) {
  const { store, actions } = app;
  const root = h('div', { class: 'view' });
  store.watch(
    (state) => [state.entries, state.chain, state[kind], state.job?.state],
    () => {
      const { state } = store;
      if (!blocked(state) && !lacks(state)) plan(state);
    },
    signal,
  );
  const inputs = (/** @type {State} */ state) => [
    state.entries,
    state.chain,
    state[kind],
    state.to,
    state.plans,
    state.checks,
    state.lineage,
    state.job?.state,
    app.room,
  ];
  const fields = live(store, signal, h('section', { class: 'form' }), inputs, () => form(app));
  const before = live(
    store,
    signal,
    h('section', { class: 'preflight', 'aria-label': 'Before the start' }),
    inputs,
    () => {
      const { checks, ready } = preflight(app);
      const bar = checks.find(({ mood }) => mood === 'error' || mood === 'open');
      const why = blocked(store.state) ?? (bar && (typeof bar.text === 'string' ? bar.text : 'Not possible, see above.'));
      return [
        h('h2', null, 'Before the start'),
        checklist(checks),
        h(
          'div',
          { class: 'actions' },
          button(start, () => actions[kind](), {
            class: 'primary',
            disabled: !ready || why,
            'aria-describedby': 'why',
            'data-key': 'start',
          }),
          h('span', { id: 'why', class: 'muted' }, why),
        ),
      ];
    },
  );
  const outcome = jobArea(app, signal, kind, { retry: () => (lacks(store.state) ? actions.finetune() : actions[kind]()) });
  const results = live(
    store,
    signal,
    h('div'),
    (state) => [state.saved, state.entries],
    ([saved]) =>
      saved
        .filter((each) => each.kind === kind)
        .reverse()
        .map((each) => savedView(app, each, ...result(each))),
  );
  // The focus goes to what came of the work.
  const count = () => store.state.saved.filter((each) => each.kind === kind).length;
  let known = count();
  let told = store.state.job?.problem;
  store.watch(
    (state) => [state.saved, state.job?.problem],
    ([, problem]) => {
      const fresh = /** @type {HTMLElement | null | false} */ (
        count() > known ? results.querySelector('[data-result]') : problem !== told && outcome.querySelector('.outcome')
      );
      if (fresh) {
        fresh.focus();
        fresh.parentElement?.scrollIntoView({ block: 'nearest' });
      }
      known = count();
      told = problem;
    },
    signal,
  );
  store.watch(
    (state) => [JSON.stringify(lacks(state))],
    () => {
      const wanting = lacks(store.state);
      fill(
        root,
        wanting
          ? [missing(app, ...wanting), outcome]
          : [h('h1', null, title), h('div', { class: 'two-columns' }, fields, before), outcome, results, below],
      );
    },
    signal,
  );
  return [root];
}
