// Files by content: digests that tell whether a step is up to date, and folders brought to a wanted content.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { work } from './run.mjs';

/**
 * Relative paths ('/'-separated, sorted) of all files below a folder; none if it does not exist.
 *
 * @param {string} folder
 * @returns {string[]}
 */
export function list(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath ?? entry.path, entry.name)
        .slice(folder.length + 1)
        .replaceAll('\\', '/'),
    )
    .sort();
}

/**
 * SHA-256 over names and contents, in hex.
 *
 * @param {string[]} paths
 * @param {...string} settings further text that the result depends on
 */
export function digest(paths, ...settings) {
  const hash = createHash('sha256');
  for (const text of settings) hash.update(`${text}\0`);
  for (const path of paths) {
    const bytes = readFileSync(path);
    hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

/**
 * Runs a step unless it ran with the same digest before.
 *
 * @param {string} name
 * @param {string} inputs digest of all that the step depends on
 * @param {() => void} step
 * @param {string[]} outputs files that must exist for the step to count as done
 */
export function once(name, inputs, step, outputs = []) {
  const stamp = `${work}/${name}.stamp`;
  const done = existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs && outputs.every((path) => existsSync(path));
  if (done) return;
  rmSync(stamp, { force: true });
  step();
  mkdirSync(work, { recursive: true });
  writeFileSync(stamp, inputs);
}

/**
 * Makes a folder hold exactly these files. Unchanged files are left alone, others removed.
 *
 * @param {string} folder
 * @param {Map<string, Buffer | string>} wanted content by relative path
 */
export function sync(folder, wanted) {
  for (const path of list(folder)) if (!wanted.has(path)) rmSync(`${folder}/${path}`);
  for (const [path, content] of wanted) {
    const bytes = Buffer.from(content);
    const target = `${folder}/${path}`;
    if (existsSync(target) && statSync(target).size === bytes.length && readFileSync(target).equals(bytes)) continue;
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, bytes);
  }
}
