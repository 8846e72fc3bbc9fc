// @ts-check
// The arguments after a command, checked against its flags.
import { parseArgs } from 'node:util';
import { usage } from '../errors.js';
import { suggest } from '../options.js';
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
  /** @type {Flags} */
  const flags = {};
  const files = [];
  for (const token of tokens) {
    if (token.kind === 'positional') files.push(token.value);
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
    if (!token.value || (token.value.startsWith('-') && !token.inlineValue)) throw usage(`--${token.name} needs a value: ${flag.value}, ${flag.about}`);
    if (flag.multiple) (flags[token.name] ??= []).push(token.value);
    else if (token.name in flags) throw usage(`--${token.name} is given twice`);
    else flags[token.name] = token.value;
  }
  if (flags.help || flags.version) return { files, flags };
  const missing = needs.find((need) => !(need in flags));
  if (missing) throw usage(`${name} needs --${missing}; see wdelta help ${name}`);
  if ('output' in own && !flags.output && !flags['dry-run']) throw usage(`${name} needs -o, where to write; see wdelta help ${name}`);
  if (files.length < least || files.length > most) {
    const wanted = least === most ? (least || 'no') : `at least ${least}`;
    throw usage(`${name} takes ${wanted} file argument${least === 1 ? '' : 's'}, and ${files.length || 'none'} ${files.length > 1 ? 'are' : 'is'} given; see wdelta help ${name}`);
  }
  return { files, flags };
}
