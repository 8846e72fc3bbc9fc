// @ts-check
// The sample that ships with the page: a small language model, and deltas of two of its fine-tunes.

/** @import { Picked } from '../intake/collect.js' */
/** @import { Entry } from '../types.js' */
/** @import { Config } from './llama.js' */
/** @import { TokenizerJson } from './tokenizer.js' */

const folder = new URL('../../sample/', import.meta.url);

/** Files of the sample: the base, one fine-tune with every bit and as int4, another one in two steps. */
const FILES = [
  ['base.safetensors', 'stories260k.safetensors'],
  ['docs.wdelta', 'stories260k-docs.wdelta'],
  ['docs-int4.wdelta', 'stories260k-docs-int4.wdelta'],
  ['step-1.wdelta', 'stories260k-step-1.wdelta'],
  ['step-2.wdelta', 'stories260k-step-2.wdelta'],
];

/** What the weights alone do not say. */
const BESIDE = ['config.json', 'tokenizer.json'];

/** @param {string} path */
async function get(path) {
  const response = await fetch(new URL(path, folder)).catch(() => {
    throw Object.assign(
      new Error('The sample cannot be loaded: it needs a connection once. After that it is there offline, too.'),
      { code: 'IO', retryable: true },
    );
  });
  if (!response.ok)
    throw Object.assign(
      new Error(`The sample's ${path} could not be loaded: the server answered ${response.status}.`),
      { code: 'IO', retryable: true },
    );
  return response;
}

/** @param {Entry[]} entries what is open @param {(name: string) => void} onFile @returns {Promise<Picked[]>} those that are not */
export async function sampleFiles(entries, onFile) {
  /** @type {Picked[]} */
  const files = [];
  for (const [path, name] of FILES) {
    onFile(name);
    files.push({ file: new File([await (await get(path)).blob()], name), path: name });
  }
  // The service worker keeps what it sees. On the first visit it may have come too late for that.
  const keep = async (/** @type {string[]} */ paths) => {
    for (const path of paths) await (await get(path)).blob();
  };
  const workers = navigator.serviceWorker;
  if (workers?.controller) await keep(BESIDE);
  else
    workers?.addEventListener('controllerchange', () => void keep([...FILES.map(([path]) => path), ...BESIDE]).catch(() => {}), {
      once: true,
    });
  return files.filter(({ path }) => !entries.some(({ sample, name }) => sample && name.replace(/ \(\d+\)/, '') === path));
}

/** @returns {Promise<{ config: Config, tokenizer: TokenizerJson }>} */
export async function sampleModel() {
  const [config, tokenizer] = await Promise.all(
    BESIDE.map(async (path) => (await get(path)).json()),
  );
  return { config, tokenizer };
}
