// @ts-check
// The help texts, made from the table of commands.
/** @import { Flag } from './commands.js' */
import { COMMANDS, COMMON } from './commands.js';

/** What `wdelta --help` says. */
export const overview = () => `wdelta stores a fine-tune as a small delta against its base model, and rebuilds it.

${Object.values(COMMANDS)
  .map(({ usage, about }) => `  wdelta ${usage}\n      ${about}`)
  .join('\n')}

Start with
  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta
  wdelta inspect chat.wdelta
  wdelta decode --base llama/ chat.wdelta -o rebuilt/ --copy-side-files

PATH is a .safetensors file, a folder of a model (also in the Hugging Face cache), or an http(s) URL of a file.
${flagHelp(COMMON)}
Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted. \`wdelta help COMMAND\` says more.`;

/**
 * What `wdelta help COMMAND` says.
 * @param {string} name
 */
export function commandHelp(name) {
  const { usage, about, examples, flags, json } = COMMANDS[name];
  return `wdelta ${usage}

${about}

${examples}

${flagHelp(flags)}
${flagHelp(COMMON)}
--json prints ${json}`;
}

/** @param {Record<string, Flag>} flags */
function flagHelp(flags) {
  const rows = Object.entries(flags).map(([name, { short, value, about }]) => [
    `  ${short ? `-${short}, ` : ''}--${name}${value ? ` ${value}` : ''}`,
    about,
  ]);
  const width = Math.max(...rows.map(([left]) => left.length));
  return `${rows.map(([left, about]) => `${left.padEnd(width)}  ${about}`).join('\n')}\n`;
}
