// @ts-check
// "Try it": base and rebuilt fine-tune of the sample write side by side, token by token.

import { tensors } from '../api.js';
import { button, h, live } from '../dom.js';
import { problemOf } from '../errors.js';
import { middle, plain, plural } from '../format.js';
import { chainOf, sourcesOf } from '../model/chain.js';
import { entryOf } from '../model/rows.js';
import { blocked } from '../components/parts.js';
import { problemView } from '../components/problem.js';
import { generate } from './generate.js';
import { collect, Llama } from './llama.js';
import { sampleModel } from './load.js';
import { Tokenizer } from './tokenizer.js';

/** @import { App } from '../app.js' */

/** Tokens per run. */
const TOKENS = 96;

// What only this panel looks like is loaded with it, before it is seen.
const style = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: './js/sample/try.css' });
await new Promise((done) => {
  style.onload = style.onerror = done;
  document.head.append(style);
});

/** @param {App} app @param {AbortSignal} signal */
export function tryPanel({ store }, signal) {
  const prompt = h('input', {
    type: 'text',
    value: 'Once upon a time',
    autocomplete: 'off',
    'aria-label': 'Prompt',
    on: { keydown: (/** @type {KeyboardEvent} */ event) => event.key === 'Enter' && void run() },
  });
  const warmth = h('input', { type: 'number', value: 0, min: 0, max: 2, step: 0.1, 'aria-label': 'Temperature' });
  const seed = h('input', { type: 'number', value: 1, min: 0, step: 1, 'aria-label': 'Seed' });
  const texts = [h('p', { class: 'text' }), h('p', { class: 'text' })];
  const said = h('p', { class: 'muted', role: 'status' });
  const trouble = h('div');
  /** @type {AbortController | null} */
  let running = null;
  const start = button('Generate', () => (running ? running.abort() : void run()), {
    class: 'primary',
    'data-key': 'generate',
  });

  async function run() {
    if (running || blocked(store.state)) return;
    const controller = (running = new AbortController());
    const stop = AbortSignal.any([controller.signal, signal]);
    start.textContent = 'Stop';
    trouble.replaceChildren();
    try {
      said.textContent = 'Reading the base and rebuilding the fine-tune';
      const models = await rebuilt(stop);
      await write(models, stop);
    } catch (error) {
      if (stop.aborted) said.textContent = 'Stopped.';
      else trouble.replaceChildren(problemView(problemOf(error), { retry: () => void run() }));
    }
    start.textContent = 'Generate';
    running = null;
  }

  /** @param {AbortSignal} stop */
  async function rebuilt(stop) {
    const base = entryOf(store.state, 'base');
    const chain = chainOf(store.state);
    if (!base) throw Object.assign(new Error('The base of the sample is not open.'), { code: 'USAGE' });
    const { config, tokenizer } = await sampleModel();
    const weights = [
      await collect(tensors({ base: base.source, as: 'float32', signal: stop })),
      await collect(
        tensors({ base: base.source, deltas: sourcesOf(chain), as: 'float32', signal: stop }),
      ),
    ];
    return { tokenizer: new Tokenizer(tokenizer), models: weights.map((each) => new Llama(config, each)) };
  }

  /** @param {Awaited<ReturnType<typeof rebuilt>>} loaded @param {AbortSignal} stop */
  async function write({ tokenizer, models }, stop) {
    const options = { tokens: TOKENS, temperature: Number(warmth.value) || 0, seed: Number(seed.value) || 0 };
    const writers = models.map((model) => generate(model, tokenizer, prompt.value, options));
    const written = ['', ''];
    const open = new Set([0, 1]);
    for (let tokens = 1; open.size; tokens++) {
      for (const i of open) {
        const next = writers[i].next();
        if (next.done) open.delete(i);
        else written[i] += next.value;
      }
      const apart = firstDifference(written[0], written[1]);
      texts.forEach((element, i) =>
        element.replaceChildren(
          h('span', { class: 'given' }, prompt.value),
          h('span', { class: 'same' }, lines(written[i].slice(0, apart))),
          h('mark', null, lines(written[i].slice(apart))),
        ),
      );
      said.textContent = open.size
        ? `Token ${tokens} of ${TOKENS}`
        : written[0] === written[1]
          ? 'Both wrote the same.'
          : `The same for ${plural(apart, 'character')}, then apart.`;
      await new Promise((done) => setTimeout(done, 16));
      stop.throwIfAborted();
    }
  }

  const panel = h(
    'section',
    { class: 'try', 'aria-labelledby': 'try-title' },
    h('h2', { id: 'try-title' }, 'Try the rebuilt model'),
    h(
      'p',
      { class: 'muted' },
      'A language model of 260 thousand parameters, trained on stories; the fine-tunes saw documentation. It runs in this tab, from the weights that this page rebuilds. The lossless deltas give what the original fine-tune writes; int4 is not exact, and parts from it with some prompts.',
    ),
    h(
      'div',
      { class: 'bar' },
      h('label', { class: 'field grow' }, h('span', null, 'Prompt'), prompt),
      h('label', { class: 'field short' }, h('span', null, 'Temperature'), warmth),
      h('label', { class: 'field short' }, h('span', null, 'Seed'), seed),
      start,
    ),
    h(
      'div',
      { class: 'texts' },
      h('div', null, h('h3', null, 'Base'), texts[0]),
      h(
        'div',
        null,
        live(
          store,
          signal,
          h('h3'),
          (state) => [state.chain, state.entries],
          () => [
            'Base + ',
            chainOf(store.state)
              .map(({ name }) => middle(plain(name), 40))
              .join(' + ') || 'no delta',
          ],
        ),
        texts[1],
      ),
    ),
    said,
    trouble,
  );
  store.watch(
    (state) => [
      Boolean(entryOf(state, 'base')?.sample) && chainOf(state).every(({ sample }) => sample),
      state.job?.state === 'running',
    ],
    ([shown, busy]) => {
      panel.hidden = !shown;
      start.disabled = busy;
    },
    signal,
  );
  return panel;
}

/** Text with its line breaks; a model may write anything. @param {string} text */
const lines = (text) => text.split('\n').map(plain).join('\n');

/** @param {string} a @param {string} b */
function firstDifference(a, b) {
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  return i;
}
