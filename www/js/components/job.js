// @ts-check
// The job under way, at the bottom of the page, and how one ended that failed.

import { button, fill, h, live } from '../dom.js';
import { about, bytes, name } from '../format.js';
import { problemView } from './problem.js';

/** @import { App } from '../app.js' */
/** @import { Job } from '../types.js' */
/** @import { Fixes } from './problem.js' */

/** Milliseconds before a time estimate is worth showing. */
const ETA_AFTER = 3000;

/** @param {App} app @param {AbortSignal} signal */
export function jobBar({ store, jobs }, signal) {
  const bar = h('progress', { 'aria-label': 'Progress', max: 1 });
  const text = h('div', { class: 'job-text num' });
  const cancel = button('Cancel', () => jobs.cancel(), { 'data-key': 'cancel' });
  const element = h('footer', { class: 'job-bar', hidden: true, 'aria-label': 'Running job' }, text, bar, cancel);
  const title = document.title;
  /** @type {{ id: string, shown: number, at: number }} */
  let eta = { id: '', shown: 0, at: 0 };
  store.watch(
    (state) => [state.job],
    ([job]) => {
      const busy = job?.state === 'running' || job?.state === 'cancelling';
      element.hidden = !busy;
      document.body.classList.toggle('busy', Boolean(busy));
      if (!job || !busy) {
        document.title = title;
        return;
      }
      // A job that goes on when all is read and written that was foreseen, as further passes do, does not tell how far it is.
      const share = job.share === 1 && job.phase !== 'done' ? null : job.share;
      if (share === null) bar.removeAttribute('value');
      else bar.value = share;
      document.title = `${share === null ? '' : `${Math.floor(share * 100)} % · `}${job.title.toLowerCase()}`;
      eta = steady(job, eta);
      cancel.disabled = job.state === 'cancelling';
      const elapsed = performance.now() - job.started;
      fill(
        text,
        h('strong', null, job.title),
        h(
          'span',
          null,
          job.state === 'cancelling' ? 'cancelling' : job.phase,
          job.tensor && job.state === 'running' ? h('span', { class: 'wide' }, ' ', name(job.tensor, 36)) : null,
        ),
        share === null
          ? null
          : h('span', null, `${Math.floor(share * 100)}\u00a0%`),
        job.done ? h('span', null, `${bytes(job.done)} done`) : null,
        job.rate ? h('span', { class: 'wide' }, `${bytes(job.rate)}/s`) : null,
        share !== null && elapsed > ETA_AFTER && eta.shown ? h('span', null, about(eta.shown)) : null,
        job.memory ? h('span', { class: 'wide' }, `memory ${bytes(job.memory)}`) : null,
      );
    },
    signal,
  );
  return element;
}

/** An estimate that falls by at most the time that has passed, plus a fifth. @param {Job} job @param {{ id: string, shown: number, at: number }} before */
function steady({ id, eta }, before) {
  const now = performance.now() / 1000;
  if (typeof eta !== 'number' || !Number.isFinite(eta)) return before;
  if (before.id !== id || !before.shown) return { id, shown: eta, at: now };
  const expected = Math.max(0, before.shown - (now - before.at));
  return { id, shown: Math.min(expected * 1.2 + 1, Math.max(expected * 0.8 - 1, eta)), at: now };
}

/** How a failed job ended, in the view that started it. @param {App} app @param {AbortSignal} signal @param {Job['kind']} kind @param {Fixes} own what can be offered there */
export const jobArea = ({ store, actions }, signal, kind, own) =>
  live(
    store,
    signal,
    h('div'),
    (state) => [state.job],
    ([job]) =>
      job?.kind === kind && job.problem
        ? h(
            'div',
            { class: 'outcome', tabindex: -1, 'data-key': `outcome ${kind}` },
            h('h2', null, `${job.title} ${job.state === 'cancelled' ? 'was cancelled' : 'did not finish'}`),
            problemView(job.problem, actions.fixes(own)),
            job.state === 'failed' && /rebuild|make/.test(kind)
              ? h('p', { class: 'muted' }, 'No half-written output remains.')
              : null,
          )
        : null,
  );
