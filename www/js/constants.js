// @ts-check
// Numbers and names of the user interface, each with its unit and reason.

/** Views in the order of their keys 1 to 5. */
export const VIEWS = /** @type {const} */ (['inspect', 'compare', 'lineage', 'rebuild', 'make']);

/** Bytes up to which a result may stay in memory; above, a place on disk is needed. */
export const MEMORY_LIMIT = 256e6;

/** Bytes of a record that the hex view shows. */
export const HEX_BYTES = 256;

/** Rows and columns of the map. More layers are drawn in bands of neighbours, more roles as "other". */
export const MAP_ROWS = 128;
export const MAP_COLUMNS = 32;

/** Rectangles of the area picture; the smallest tensors share the last one. */
export const AREA_CELLS = 400;

/** Bins of the legend. */
export const LEGEND_BINS = 32;

/** Characters of a name before it is cut in the middle. */
export const NAME_LENGTH = 72;

/** Milliseconds between spoken progress messages, and the share of the work that triggers one earlier. */
export const SPEAK_EVERY = 15_000;
export const SPEAK_SHARE = 0.1;

/** Milliseconds before a time estimate is worth showing. */
export const ETA_AFTER = 3000;

/** Bytes a single tensor may have to be measured at once when it is chosen. */
export const MEASURE_AT_ONCE = 16e6;

/** Milliseconds between two pictures while tensors are measured. */
export const REDRAW_EVERY = 150;

/** Milliseconds without a key after which a text counts as typed. */
export const TYPING_PAUSE = 400;

/** Files looked at in one dropped folder. */
export const MAX_FILES = 20_000;

/** Bytes of a fine-tune that are encoded to estimate a delta's size, and bytes taken at each place: a second of work. */
export const SAMPLE_BYTES = 8e6;
export const SAMPLE_PART = 5e5;
