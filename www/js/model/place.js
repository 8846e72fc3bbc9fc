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
const isNumber = (part) => /^\d+$/.test(part);

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
 * Gives each row its place. Layers are called by their numbers, and by what else tells them apart where a model has
 * several stacks of them.
 * @template {{ name: string }} T
 * @param {T[]} rows @returns {(T & Pick<Row, 'group'>)[]}
 */
export function placed(rows) {
  /** Words of each stack. @type {Map<string, string[]>} */
  const stacks = new Map();
  const places = rows.map(({ name }) => {
    const parts = name.replace(/(?<=.)\.weight$/, '').split('.');
    const end = leading(parts);
    const path = parts.slice(0, end);
    const words = path.map((part) => part.replace(KIND, '')).filter(Boolean);
    const stack = words.join(' ');
    if (end) stacks.set(stack, words);
    /** @type {number | null} */
    let expert = null;
    const role = parts.slice(end).filter((part, i, all) => {
      if (expert !== null || !isNumber(part) || !/expert/.test(all[i - 1])) return true;
      expert = Number(part);
    });
    return { end, stack, number: path.join('.').match(/\d+(?=\.|$)/g)?.join('.'), expert, role: role.join('.') };
  });
  const all = [...stacks.values()];
  const apart = all.map((words) => words.filter((word) => !all.every((other) => other.includes(word))));
  const labels = new Map([...stacks.keys()].map((stack, i) => [stack, apart.filter(([first]) => first === apart[i][0]).length > 1 ? apart[i].join(' ') : apart[i][0] ?? '']));
  return rows.map((row, i) => {
    const { end, stack, number, expert, role } = places[i];
    return { ...row, group: { layer: end ? `${labels.get(stack)} ${number}`.trim() : null, expert, role: end ? role || 'weight' : role.replace(WRAPPER, '') } };
  });
}

/** Numbers in a name count as numbers: layer 2 before layer 10. @param {string} name */
export const naturalKey = (name) => name.replace(/\d+/g, (digits) => digits.padStart(8, '0'));

/** A layer in words: one with a word of its own is called by that. @param {string} layer */
export const layerText = (layer) => (/^\d/.test(layer) ? `layer ${layer}` : layer);
