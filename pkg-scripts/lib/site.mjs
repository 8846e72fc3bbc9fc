// The static site: the page, and in pkg/ what it loads of the package. Every address in it is relative.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { list, sync } from './files.mjs';
import { BuildError, root } from './run.mjs';

/** Modules of the package that only Node loads. */
const NODE_ONLY = /^cli\.js$|(^|-)node\.js$/;
/** What the service worker's source says as long as no build has filled it in. */
const UNSTAMPED = "const SITE = { version: '', files: [] };";
/** What is not kept for offline use from the start: the worker itself, texts for people, and the sample, which is fetched on click. */
const NOT_KEPT = /^sw\.js$|(^|\/)(LICENSE|NOTICE)$|^sample\//;

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
  return Buffer.from(source.replace(UNSTAMPED, () => `const SITE = ${JSON.stringify(stamped)};`));
}

/**
 * Writes the site into a folder, which must be empty or hold an earlier site.
 *
 * @param {string} folder
 * @param {Map<string, Buffer | string>} files the package's content by path
 * @returns {number} how many files the site has
 */
export function writeSite(folder, files) {
  const ours = existsSync(`${folder}/index.html`) && existsSync(`${folder}/pkg/wdelta_bg.wasm`);
  if (existsSync(folder) && !ours && readdirSync(folder).length > 0) {
    throw new BuildError(`${folder} holds something else than an earlier site; choose an empty folder.`);
  }
  const site = new Map();
  for (const path of list(`${root}/www`)) {
    // The pictures are those of the README.
    if (!path.endsWith('.d.ts') && !path.startsWith('img/')) site.set(path, readFileSync(`${root}/www/${path}`));
  }
  for (const [path, content] of files) {
    if (path.endsWith('.wasm') || path === 'LICENSE' || (path.endsWith('.js') && !NODE_ONLY.test(path)))
      site.set(`pkg/${path}`, Buffer.from(content));
  }
  site.set('sw.js', stamp(site));
  sync(folder, site);
  return site.size;
}
