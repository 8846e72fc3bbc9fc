// Running other programs, and the folders that every script needs.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The repository. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[/\\]$/, '');
/** Development tools and their dependencies. */
export const scripts = `${root}/pkg-scripts`;
/** Intermediate results, not under version control. */
export const work = `${scripts}/.build`;
/** The built package. */
export const pkg = `${root}/pkg`;

/** A failure that the user can act on: printed without a stack. */
export class BuildError extends Error {}

/**
 * Runs a program with the repository as working folder and its output passed on; throws if it fails.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {Record<string, string>} [env] added to the environment
 */
export function run(command, args, env = {}) {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (error) throw new BuildError(`${command} did not start: ${error.message}`);
  if (status !== 0) throw new BuildError(`${command} ${args[0]} failed (${signal ?? `exit code ${status}`}).`);
}

/**
 * Runs a program and gives its standard output.
 *
 * @param {string} command
 * @param {string[]} args
 */
export function capture(command, args) {
  const { status, error, stdout } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 28,
  });
  if (error) throw new BuildError(`${command} did not start: ${error.message}`);
  if (status !== 0) throw new BuildError(`${command} ${args[0]} failed (exit code ${status}).`);
  return stdout;
}

/**
 * Runs `main`; a `BuildError` or wrong arguments become one line and exit code 1.
 *
 * @param {() => unknown} main
 */
export async function script(main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof BuildError) && !String(error?.code).startsWith('ERR_PARSE_ARGS')) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  }
}
