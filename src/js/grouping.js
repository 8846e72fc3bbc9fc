// @ts-check
/**
 * Where tensors stand in a model: layer, expert and role, told from their names, as `encoder.block.3.layer.0.SelfAttention.q`
 * says block 3 of the encoder. Names are a convention and no format, so this is a guess that costs nothing when wrong.
 *
 * In two steps, since what a layer is called depends on the other tensors: `groupsOf(names.map(placeOf))`. The first takes
 * most of the time, and can be done in slices.
 */
/** @import * as T from './types.js' */

/** First parts that only wrap the model. */
const WRAPPER = /^(model|transformer|bert|roberta|distilbert|electra|gpt_neox|backbone|auto_model)\.(?=.)/;
/** Parts that a layer's number follows, those that are more than one layer, and those that have its number themselves. */
const LAYERED = /layer|block|^(blk|h|stages|features|resnets|attentions)$/;
const SEVERAL = /^(layers|blocks|resnets|attentions)$/;
const OWN = /(layer|block|stage)s?_?\d+$/;
/** What of a part only says that it is a layer, or a model. */
const KIND = /_?((res|dense)?(layer|block|stage)s?|^blk|^h|features|resnets|attentions|model|tower)?_?\d*$/;

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
 * What a tensor's name says by itself, for `groupsOf`.
 * @param {string} name
 * @returns {T.Place}
 */
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
  if (!end) return { words: null, number: '', expert, role: role.replace(WRAPPER, '') };
  const path = parts.slice(0, end);
  const number = path.map((part) => /\d*$/.exec(part)?.[0]).filter(Boolean).join('.');
  return { words: path.map((part) => part.replace(KIND, '')).filter(Boolean), number, expert, role: role || 'weight' };
}

/**
 * Names the layers of a model's tensors: by number, and by what else tells them apart where there are several stacks of them.
 * @param {T.Place[]} places one per tensor
 * @returns {T.Group[]} in the same order
 */
export function groupsOf(places) {
  /** What tells each stack apart. @type {Map<string, string[]>} */
  const stacks = new Map();
  for (const { words } of places) if (words) stacks.set(words.join(' '), words);
  const uses = tally([...stacks.values()].flatMap((words) => [...new Set(words)]));
  for (const [stack, words] of stacks) stacks.set(stack, words.filter((word) => uses(word) < stacks.size));
  const firsts = tally([...stacks.values()].map(([first]) => first));
  const label = (/** @type {string[]} */ [first = '', ...others]) => (firsts(first) > 1 ? [first, ...others].join(' ') : first);
  return places.map(({ words, number, expert, role }) => ({
    layer: words && `${label(stacks.get(words.join(' ')) ?? [])} ${number}`.trim(),
    expert,
    role,
  }));
}

/** How often each of them is there. @param {(string | undefined)[]} words */
function tally(words) {
  /** @type {Map<string | undefined, number>} */
  const found = new Map();
  const count = (/** @type {string | undefined} */ word) => found.get(word) ?? 0;
  for (const word of words) found.set(word, count(word) + 1);
  return count;
}
