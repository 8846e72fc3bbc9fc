// @ts-check
// Where a tensor stands: layer, expert and role, told from its name, as "encoder.block.3.layer.0.SelfAttention.q" says
// block 3 of the encoder. Names are a convention, so this is a guess that costs nothing when wrong.

/** @import { Row } from '../types.js' */

/** First parts that only wrap the model. */
const WRAPPER = /^(model|transformer|bert|roberta|distilbert|electra|gpt_neox|backbone|auto_model)\.(?=.)/;
/** Parts that a layer's number follows, those that are more than one layer, and those that have its number themselves. */
const LAYERED = /layer|block|^(blk|h|stages|features|resnets|attentions)$/;
const SEVERAL = /^(layers|blocks|resnets|attentions)$/;
const OWN = /(layer|block|stage)s?_?\d+$/;
/** What of a part only says that it is a layer, or a model. */
const KIND = /_?((res|dense)?(layer|block|stage)s?|blk|h|features|resnets|attentions|model|tower)?_?\d*$/;

/** @param {string} part */
export const isNumber = (part) => /^\d+$/.test(part);

/** How many parts lead to a layer: up to its number, and on to that of a block in a stage. @param {string[]} parts */
function leading(parts) {
  let end = 0;
  parts.forEach((part, i) => {
    const number = isNumber(part);
    if (end ? (i === end && (number || OWN.test(part))) || (i === end + 1 && number && SEVERAL.test(parts[end])) : OWN.test(part) || (number && LAYERED.test(parts[i - 1])))
      end = i + 1;
  });
  return end;
}

/**
 * A place whose layer has no name yet.
 * @typedef {{ words: string[] | null, number?: string, expert: number | null, role: string }} Place `words` tell stacks of layers apart
 */

/** @param {string} name @returns {Place} */
export function placeOf(name) {
  const parts = name.split('.');
  if (parts[1] && parts.at(-1) === 'weight') parts.pop();
  const end = leading(parts);
  /** @type {number | null} */
  let expert = null;
  const role = parts
    .slice(end)
    .filter((part, i, all) => expert !== null || !isNumber(part) || !/expert/.test(all[i - 1]) || ((expert = Number(part)), false))
    .join('.');
  if (!end) return { words: null, expert, role: role.replace(WRAPPER, '') };
  const path = parts.slice(0, end);
  const number = path.map((part) => /\d*$/.exec(part)?.[0]).filter(Boolean).join('.');
  return { words: path.map((part) => part.replace(KIND, '')).filter(Boolean), number, expert, role: role || 'weight' };
}

/**
 * Names the layers: by number, and by what else tells them apart where a model has several stacks of them.
 * @template T
 * @param {(T & { place: Place })[]} rows @returns {(T & Pick<Row, 'group'>)[]}
 */
export function placed(rows) {
  /** @type {Map<string, string[]>} */
  const stacks = new Map();
  for (const { place } of rows) if (place.words) stacks.set(place.words.join(' '), place.words);
  const uses = tally([...stacks.values()].flatMap((words) => [...new Set(words)]));
  const apart = new Map([...stacks].map(([stack, words]) => [stack, words.filter((word) => (uses.get(word) ?? 0) < stacks.size)]));
  const firsts = tally([...apart.values()].map(([first = '']) => first));
  const labels = new Map([...apart].map(([stack, words]) => [stack, (firsts.get(words[0] ?? '') ?? 0) > 1 ? words.join(' ') : words[0] ?? '']));
  // The rows themselves: there may be many.
  return rows.map((row) => {
    const { words, number, expert, role } = row.place;
    return Object.assign(row, { group: { layer: words && `${labels.get(words.join(' '))} ${number}`.trim(), expert, role } });
  });
}

/** How often each is there. @param {string[]} words */
function tally(words) {
  /** @type {Map<string, number>} */
  const found = new Map();
  for (const word of words) found.set(word, (found.get(word) ?? 0) + 1);
  return found;
}

/** Numbers in a name count as numbers: layer 2 before layer 10. @param {string} name */
export const naturalKey = (name) => name.replace(/\d+/g, (digits) => digits.padStart(8, '0'));

/** A layer in words: one with a word of its own is called by that. @param {string} layer */
export const layerText = (layer) => (/^\d/.test(layer) ? `layer ${layer}` : layer);
