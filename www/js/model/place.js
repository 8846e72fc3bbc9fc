// @ts-check
// Names and layers in their order, and in words.

/** @param {string} part of a name, between dots */
export const isNumber = (part) => /^\d+$/.test(part);

/** Numbers in a name count as numbers: layer 2 before layer 10. @param {string} name */
export const naturalKey = (name) => name.replace(/\d+/g, (digits) => digits.padStart(8, '0'));

/** A layer in words: one with a word of its own is called by that. @param {string} layer */
export const layerText = (layer) => (/^\d/.test(layer) ? `layer ${layer}` : layer);
