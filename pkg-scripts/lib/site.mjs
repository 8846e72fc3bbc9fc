// The static site: the page, and in pkg/ what it loads of the package. Every address in it is relative.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { brotliCompressSync, constants } from 'node:zlib';
import { minify } from 'terser';
import { COMMAND_LINE } from './budget.mjs';
import { list, sync } from './files.mjs';
import { BuildError, root } from './run.mjs';

/** Modules of the package that only Node loads, the command line apart. */
const NODE_ONLY = /(^|-)node\.js$/;
/** What the service worker's source says as long as no build has filled it in. */
const UNSTAMPED = "const SITE = { version: '', files: [] };";
/** What is not kept for offline use from the start: the worker itself, texts for people, and the sample, which is fetched on click. */
const NOT_KEPT = /^sw\.js$|(^|\/)(LICENSE|NOTICE)$|^sample\//;

/** Names that most modules of the page use. The same everywhere, they take less room once packed than a letter that differs. */
const SHARED = 'actions app blocked button entryOf exact facts h icon jobs live number percent plain plural problemView select shape store'.split(' ');

/** Other names, the same in every module for the same reason: letters in about the order of how often they occur in scripts, then two of them. */
const LETTERS = 'entsiorahldcumfpgwybvkxjqz';
const nth_identifier = {
  get(/** @type {number} */ n) {
    let name = LETTERS[n % LETTERS.length];
    for (n = Math.floor(n / LETTERS.length); n > 0; n = Math.floor(n / LETTERS.length)) name += LETTERS[--n % LETTERS.length];
    return name;
  },
};

/** Fewer ways to say the same pack better; no getter of ours does anything, and no function expression needs its own `this`. */
const COMPRESS = { passes: 2, inline: 1, reduce_funcs: false, lhs_constants: false, pure_getters: true, unsafe_arrows: true, comparisons: false };

/** Largest size of HTML, CSS and JavaScript without the sample, in bytes, in one stream after brotli 11. */
const SITE_BYTES = 60_000;
/** What is loaded when the sample is asked for, and is no part of that. */
const SAMPLE = /^(js\/)?sample\//;

/**
 * A script or style sheet without comments and long names.
 *
 * @param {string} path
 * @param {string} text
 */
async function small(path, text) {
  if (path.endsWith('.css')) {
    return text
      .replace(/\/\*[^]*?\*\//g, '')
      .replace(/\s+/g, ' ')
      .replace(/ ?([{};,>~]) ?/g, '$1')
      .replace(/ ([*/]) /g, '$1')
      .replace(/: /g, ':')
      .replace(/;}/g, '}')
      .replace(/(?<![\d.])0\.(?=\d)/g, '.');
  }
  const { code } = await minify({ [path]: text }, { module: true, ecma: 2020, compress: COMPRESS, mangle: { reserved: SHARED, nth_identifier } });
  return String(code);
}

/**
 * Prints the site's size; throws if it is over its bound.
 *
 * @param {Map<string, Buffer>} site
 */
export function checkSite(site) {
  // In this order sw.js comes last: its version is another one for every build, and changes how all that follows is packed.
  const paths = [...site.keys()].filter((path) => /\.(html|css|js)$/.test(path) && !SAMPLE.test(path)).sort();
  const parts = paths.map((path) => /** @type {Buffer} */ (site.get(path)));
  const all = Buffer.concat(parts);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: all.length };
  const packed = brotliCompressSync(all, { params }).length;
  const n = (/** @type {number} */ value) => value.toLocaleString('en-US');
  console.log(`page: ${n(all.length)} bytes in ${parts.length} files, brotli ${n(packed)} of ${n(SITE_BYTES)}`);
  if (packed > SITE_BYTES) throw new BuildError('over budget: the page.');
}

/**
 * The service worker with the list of files to keep, and a version that changes with any of them.
 *
 * @param {Map<string, Buffer>} site content by path, the worker's own included
 */
function stamp(site) {
  const source = String(site.get('sw.js'));
  if (!source.includes(UNSTAMPED)) throw new BuildError(`www/sw.js must have the line: ${UNSTAMPED}`);
  const hash = createHash('sha256');
  for (const [path, content] of site) hash.update(`${path}\0${content.length}\0`).update(content);
  const kept = [...site.keys()].filter((path) => !NOT_KEPT.test(path)).sort();
  const stamped = { version: hash.digest('hex').slice(0, 16), files: kept };
  return source.replace(UNSTAMPED, () => `const SITE = ${JSON.stringify(stamped)};`);
}

/**
 * The site's content by path.
 *
 * @param {Map<string, Buffer | string>} files the package's content by path
 * @returns {Promise<Map<string, Buffer>>}
 */
export async function siteFiles(files) {
  /** @type {Map<string, Buffer>} */
  const site = new Map();
  for (const path of list(`${root}/www`)) {
    // The pictures are those of the README.
    if (!path.endsWith('.d.ts') && !path.startsWith('img/')) site.set(path, readFileSync(`${root}/www/${path}`));
  }
  for (const [path, content] of files) {
    if (path.endsWith('.wasm') || path === 'LICENSE' || (path.endsWith('.js') && !NODE_ONLY.test(path) && !COMMAND_LINE.test(path)))
      site.set(`pkg/${path}`, Buffer.from(content));
  }
  for (const [path, bytes] of site) {
    if (/\.(js|css)$/.test(path) && path !== 'sw.js') site.set(path, Buffer.from(await small(path, String(bytes))));
  }
  site.set('sw.js', Buffer.from(await small('sw.js', stamp(site))));
  return site;
}

/**
 * Writes the site into a folder, which must be empty or hold an earlier site.
 *
 * @param {string} folder
 * @param {Map<string, Buffer>} site content by path
 */
export function writeSite(folder, site) {
  const ours = existsSync(`${folder}/index.html`) && existsSync(`${folder}/pkg/wdelta_bg.wasm`);
  if (existsSync(folder) && !ours && readdirSync(folder).length > 0) {
    throw new BuildError(`${folder} holds something else than an earlier site; choose an empty folder.`);
  }
  sync(folder, site);
}
