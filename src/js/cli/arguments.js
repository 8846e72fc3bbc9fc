// @ts-check
// The arguments after a command, checked against its flags, and how options of the library are spelled as such.
import { parseArgs } from 'node:util';
import { usage } from '../errors.js';
import { suggest } from '../checks.js';
import { COMMANDS, COMMON } from './commands.js';

/** Values by the name of the flag. @typedef {Record<string, any>} Flags */

/**
 * @param {string} name of a command
 * @param {string[]} args
 * @returns {{ files: string[], flags: Flags }}
 */
export function parse(name, args) {
  const { files: [least, most], flags: own, needs = [] } = COMMANDS[name];
  const known = { ...own, ...COMMON };
  const options = /** @type {any} */ (known);
  // Not strict: its messages do not say which flag was meant.
  const { tokens } = parseArgs({ args, options, allowPositionals: true, strict: false, tokens: true });
  // Whoever asks for help is not told first what else is wrong.
  const asked = tokens.find((token) => token.kind === 'option' && (token.name === 'help' || token.name === 'version'));
  if (asked?.kind === 'option') return { files: [], flags: { [asked.name]: true } };
  /** @type {Flags} */
  const flags = {};
  const files = [];
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (token.value === '') throw usage(`an empty file name is given to ${name}; is a variable of the shell not set?`);
      if (token.value === '-') throw noStream('a file argument');
      files.push(token.value);
    }
    if (token.kind !== 'option') continue;
    const flag = Object.hasOwn(known, token.name) ? known[token.name] : undefined;
    if (!flag) {
      const hint = suggest(token.name, Object.keys(known))?.replace('mean ', 'mean --');
      throw usage(`${name} has no flag ${token.rawName}; ${hint ?? `see wdelta help ${name}`}`);
    }
    if (flag.type === 'boolean') {
      if (token.value !== undefined) throw usage(`--${token.name} takes no value`);
      flags[token.name] = true;
      continue;
    }
    // `-o=x` is meant as `--output=x` is.
    const value = token.inlineValue && !token.rawName.startsWith('--') ? token.value.replace(/^=/, '') : token.value;
    if (value === '-' && /^(PATH|FILE)$/.test(String(flag.value))) throw noStream(`--${token.name}`);
    if (!value || (value.startsWith('-') && !token.inlineValue)) throw usage(`--${token.name} needs a value: ${flag.value}, ${flag.about}`);
    if (flag.multiple) (flags[token.name] ??= []).push(value);
    else if (token.name in flags) throw usage(`--${token.name} is given twice`);
    else flags[token.name] = value;
  }
  const missing = needs.find((need) => !(need in flags));
  if (missing) throw usage(`${name} needs --${missing}; see wdelta help ${name}`);
  if ('output' in own && !flags.output && !flags['dry-run']) throw usage(`${name} needs -o, where to write; see wdelta help ${name}`);
  if (files.length < least || files.length > most) {
    const wanted = least === most ? (least || 'no') : `at least ${least}`;
    throw usage(`${name} takes ${wanted} file argument${least === 1 ? '' : 's'}, and ${files.length || 'none'} ${files.length > 1 ? 'are' : 'is'} given; see wdelta help ${name}`);
  }
  if (flags.workers !== undefined && !(/^\d+$/.test(flags.workers) && flags.workers <= 64)) {
    throw usage(`--workers is a whole number from 0 to 64, not ${flags.workers}`);
  }
  return { files, flags };
}

/** @param {string} where */
const noStream = (where) => usage(`${where} is -, a stream, and wdelta reads and writes at any position; name a file`);

/**
 * A message of the library with its options spelled as flags.
 * @param {string} message
 */
export const asFlags = (message) =>
  message
    .replace(/\bforce: true\b/g, '--force')
    .replace('leave dtype and layout out', 'leave --dtype and --layout out')
    .replace(/\boption ([a-z]+[A-Za-z]*) must\b/g, (_, name) => `${toFlag(name)} must`)
    .replace(/\b(?:lowRank|outlierFraction|baseName|hashOrder|allowFullRead)\b(?:: true)?/g, (name) => toFlag(name.replace(': true', '')));

/** `--low-rank` of `lowRank`. @param {string} name */
const toFlag = (name) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
