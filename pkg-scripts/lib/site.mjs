// The static site: the page, and in pkg/ what it loads of the package. Every address in it is relative.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { COMMAND_LINE, brotli } from './budget.mjs';
import { STAND_INS, bundle, minified } from './bundle.mjs';
import { list, sync } from './files.mjs';
import { BuildError, root } from './run.mjs';

/** Modules of the package that only Node loads, the command line apart. */
const NODE_ONLY = /(^|-)node\.js$/;
/** What the service worker's source says as long as no build has filled it in. */
const UNSTAMPED = "const SITE = { version: '', files: [] };";
/** What is not kept for offline use from the start: the worker itself, texts for people, and the sample, which is fetched on click. */
const NOT_KEPT = /^sw\.js$|(^|\/)(LICENSE|NOTICE)$|^sample\//;

/** Largest size of HTML, CSS and JavaScript without the sample, in bytes, each file after brotli 11, as a server sends them. */
const SITE_BYTES = 60_000;
/** What is loaded when the sample is asked for, and is no part of that. */
const SAMPLE = /^(js\/)?sample\//;

/**
 * A style sheet without comments and blanks.
 *
 * @param {string} text
 */
function small(text) {
  return text
    .replace(/\/\*[^]*?\*\//g, '')
    .replace(/\s+/g, ' ')
    .replace(/ ?([{};,>~]) ?/g, '$1')
    .replace(/ ([*/]) /g, '$1')
    .replace(/: /g, ':')
    .replace(/;}/g, '}')
    .replace(/(?<![\d.])0\.(?=\d)/g, '.');
}

/** A page's link to a style sheet. */
const SHEET = /<link rel="stylesheet" href="([^"]+)">\n/g;

/**
 * Links the style sheets that a page asks for into one, as scripts are.
 *
 * @param {Map<string, Buffer>} site content by path
 */
function oneSheet(site) {
  const pages = [...site].filter(([path]) => path.endsWith('.html'));
  const asked = pages.map(([, text]) => [...String(text).matchAll(SHEET)].map(([, path]) => path));
  const [sheets] = asked;
  if (asked.some((each) => each.join() !== sheets.join())) throw new BuildError('the pages of www/ must ask for the same style sheets.');
  const [first] = sheets;
  const all = sheets.map((path) => {
    const sheet = site.get(path);
    if (!sheet) throw new BuildError(`a page asks for ${path}, which is no part of the site.`);
    return sheet;
  });
  for (const path of sheets) site.delete(path);
  site.set(first, Buffer.concat(all));
  for (const [path, text] of pages)
    site.set(path, Buffer.from(String(text).replace(SHEET, (link, sheet) => (sheet === first ? link : ''))));
}

/**
 * Prints the site's size; throws if it is over its bound.
 *
 * @param {Map<string, Buffer>} site
 */
export function checkSite(site) {
  const parts = [...site].filter(([path]) => /\.(html|css|js)$/.test(path) && !SAMPLE.test(path)).map(([, bytes]) => bytes);
  const total = (/** @type {number[]} */ sizes) => sizes.reduce((sum, size) => sum + size, 0);
  const packed = total(parts.map(brotli));
  const n = (/** @type {number} */ value) => value.toLocaleString('en-US');
  console.log(
    `page: ${n(total(parts.map(({ length }) => length)))} bytes in ${parts.length} files, brotli ${n(packed)} of ${n(SITE_BYTES)} ` +
      `(in one stream ${n(brotli(Buffer.concat(parts)))})`,
  );
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
  /** @type {Map<string, string>} */
  const modules = new Map();
  for (const path of list(`${root}/www`)) {
    const bytes = readFileSync(`${root}/www/${path}`);
    if (/^js\/.*\.js$/.test(path)) modules.set(path, String(bytes));
    else if (path.endsWith('.css')) site.set(path, Buffer.from(small(String(bytes))));
    // The pictures are those of the README.
    else if (!/^img\/|\.d\.ts$/.test(path)) site.set(path, bytes);
  }
  oneSheet(site);
  for (const [path, content] of files) {
    if (path.endsWith('.js') && !NODE_ONLY.test(path) && !COMMAND_LINE.test(path)) modules.set(`pkg/${path}`, String(content));
    else if (path.endsWith('.wasm') || path === 'LICENSE') site.set(`pkg/${path}`, Buffer.from(content));
  }
  for (const [path, script] of await bundle(modules, STAND_INS)) site.set(path, Buffer.from(script));
  site.set('sw.js', Buffer.from(await minified('sw.js', stamp(site))));
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
