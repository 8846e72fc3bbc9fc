#!/usr/bin/env node
// @ts-check
// The `wdelta` command, started: which command, signals, exit codes. Results go to stdout, progress and errors to stderr.
import { version } from './node.js';
import { fileError, usage } from './errors.js';
import { suggest } from './checks.js';
import { parse } from './cli/arguments.js';
import { COMMANDS } from './cli/commands.js';
import { commandHelp, overview } from './cli/help.js';
import { fail, openOutput } from './cli/output.js';
import { progressLine } from './cli/progress-line.js';
import { RUN } from './cli/run.js';

const progress = progressLine();

/**
 * @param {string[]} args
 * @returns {Promise<number>} exit code
 */
async function main([name, ...args]) {
  const texts = openOutput(false, progress.clear);
  if (name === undefined) {
    process.stderr.write(`${overview()}\n`);
    return 2;
  }
  if (name === 'help') [name, args] = [/^(help|version)$/.test(args[0] ?? name) ? '--help' : args[0], ['--help']];
  if (name === '--help' || name === '-h') {
    texts.print([overview()]);
    return 0;
  }
  if (name === '--version' || name === 'version') {
    texts.print([await version()]);
    return 0;
  }
  if (name.startsWith('-')) throw usage(`a command comes first, then its flags, as in wdelta inspect FILE --json, and not ${name}; see wdelta --help`);
  if (!Object.hasOwn(COMMANDS, name)) {
    throw usage(`there is no command ${name}; ${suggest(name, Object.keys(COMMANDS)) ?? 'see wdelta --help'}`);
  }
  const { files, flags } = parse(name, args);
  if (flags.help || flags.version) {
    texts.print([flags.help ? commandHelp(name) : await version()]);
    return 0;
  }
  const options = {
    signal: interruption(),
    onProgress: flags.quiet ? undefined : progress.show,
    workers: flags.workers === undefined ? undefined : Number(flags.workers),
    allowFullRead: flags['allow-full-read'],
  };
  try {
    return (await RUN[name]({ files, flags, options, out: openOutput(Boolean(flags.quiet), progress.clear) })) ?? 0;
  } finally {
    progress.clear();
  }
}

/** Aborted when the process is asked to end. */
function interruption() {
  const controller = new AbortController();
  /** @param {NodeJS.Signals} signal */
  const interrupt = (signal) => {
    // The second time without manners; unfinished files are removed at exit.
    if (controller.signal.aborted) process.exit(130);
    controller.abort(new Error(signal));
  };
  for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, interrupt);
  return controller.signal;
}

process.stdout.on('error', (error) => {
  // Whoever read this has enough, as in `wdelta inspect … | head`.
  if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EPIPE') process.exit(0);
  process.exit(fail(fileError(error, 'standard output', 'written')));
});
// Nobody reads what is said; that is no reason to stop.
process.stderr.on('error', () => {});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = fail(error);
}
