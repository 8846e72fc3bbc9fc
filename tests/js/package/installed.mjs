// The package as a user gets it: packed from pkg/ and installed from the tarball into an empty folder.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const repository = fileURLToPath(new URL('../../..', import.meta.url));
export const sample = join(repository, 'tests/data/stories260k-full');
const exec = promisify(execFile);

/**
 * @typedef {object} Installed
 * @property {string} folder the user's
 * @property {string} root of the installed package
 * @property {string[]} packed files of the tarball
 * @property {(file: string, ...args: string[]) => Promise<{ code: number, stdout: string, stderr: string }>} run
 * @property {() => Promise<void>} remove
 */

/** @returns {Promise<Installed>} */
export async function install() {
  const folder = await mkdtemp(join(tmpdir(), 'wdelta-package-'));
  const npm = (...args) => exec('npm', [...args, '--offline', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: folder });
  const [{ filename, files }] = JSON.parse((await npm('pack', join(repository, 'pkg'), '--json')).stdout);
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  await npm('install', join(folder, filename));
  return {
    folder,
    root: join(folder, 'node_modules/wdelta'),
    packed: files.map(({ path }) => path).sort(),
    run: (file, ...args) =>
      exec(file, args, { cwd: folder, maxBuffer: 1 << 26 }).then(
        ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
        (error) => {
          if (typeof error.code !== 'number') throw error;
          return { code: error.code, stdout: error.stdout, stderr: error.stderr };
        },
      ),
    remove: () => rm(folder, { recursive: true }),
  };
}
