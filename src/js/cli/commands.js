// @ts-check
// The commands and their flags, as the help shows them and the parser checks them.

/**
 * @typedef {object} Flag
 * @property {'string' | 'boolean'} type
 * @property {string} [short]
 * @property {boolean} [multiple]
 * @property {string} [value] how the help calls its value
 * @property {string} about
 *
 * @typedef {object} Command
 * @property {string} usage
 * @property {string} about
 * @property {string} examples
 * @property {[number, number]} files least and most arguments without a flag
 * @property {Record<string, Flag>} flags
 * @property {string[]} [needs] flags that must be there
 * @property {string} json what --json prints
 */

/** @type {Record<string, Flag>} */
export const COMMON = {
  workers: { type: 'string', value: 'N', about: 'number of workers; 0 runs everything in one thread (default: cores, at most 8)' },
  json: { type: 'boolean', about: 'print the result as JSON, one object a line' },
  quiet: { type: 'boolean', about: 'print errors only' },
  force: { type: 'boolean', about: 'replace an output that exists' },
  'allow-full-read': { type: 'boolean', about: 'fetch a URL whole if its server cannot send parts of it' },
  help: { type: 'boolean', short: 'h', about: 'show this help' },
  version: { type: 'boolean', about: 'show the version' },
};

/** @type {Flag} */
const BASE = { type: 'string', value: 'PATH', about: 'the base model: a .safetensors file, or the folder of a model' };
/** @type {Flag} */
const MATCH = { type: 'string', value: 'GLOB', about: "only tensors with such names, as in '*.mlp.*'" };
/** @type {Flag} */
const DRY_RUN = { type: 'boolean', about: 'say what would be done, and do nothing' };

/** @type {Record<string, Command>} */
export const COMMANDS = {
  inspect: {
    usage: 'inspect FILE… [--tensors] [--sort bytes|name] [--match GLOB]',
    about: 'Shows what is in a delta. Reads its header only.',
    examples: `  wdelta inspect chat.wdelta
  wdelta inspect chat.wdelta --tensors --sort bytes
  wdelta inspect chat.wdelta --match 'model.layers.0.*'
  wdelta inspect chat.wdelta --json | jq .baseHash
  wdelta inspect https://example.com/chat.wdelta`,
    files: [1, Infinity],
    flags: {
      tensors: { type: 'boolean', about: 'a line for each tensor instead of one for each role' },
      sort: { type: 'string', value: 'ORDER', about: 'bytes (largest first) or name; else as in the file' },
      match: MATCH,
    },
    json: '{ version, strategy, bytes, baseHash, baseName?, elements, lossless?, loss?, layout, tensors: [{ name, dtype, shape, elements, strategy, bytes, lossless?, loss?, options, records }], findings }',
  },
  encode: {
    usage: 'encode --base PATH --finetuned PATH -o FILE [--strategy NAME] [--effort 0…3] [--quality N] [--parent FILE]…',
    about: 'Makes a delta of a fine-tune against its base.',
    examples: `  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta
  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta --strategy lossy --ratio 30
  wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta --strategy sparse --sparsity 0.95
  wdelta encode --base llama/ --finetuned chat-v2/ --parent chat.wdelta -o chat-v2.wdelta
  wdelta encode --base llama/ --finetuned chat/ --dry-run`,
    files: [0, 0],
    flags: {
      base: BASE,
      finetuned: { type: 'string', value: 'PATH', about: 'the fine-tuned model: a .safetensors file or a folder' },
      output: { type: 'string', short: 'o', value: 'FILE', about: 'the delta to write' },
      strategy: { type: 'string', value: 'NAME', about: 'lossless (default) or lossy; int4, sparse or quantized as deltatensors has them (version 1)' },
      effort: { type: 'string', value: 'N', about: 'lossless, lossy: 0 (fastest) to 3 (most thorough), default 2' },
      'low-rank': { type: 'string', value: 'WHEN', about: 'lossless, lossy: auto (default) looks for a low-rank part of each change, off does not' },
      quality: { type: 'string', value: 'N', about: 'lossy: 1 (smallest) to 100 (lossless), default 50' },
      ratio: { type: 'string', value: 'N', about: 'lossy: how many times smaller than the fine-tune the delta shall be, instead of a quality' },
      parent: { type: 'string', multiple: true, value: 'FILE', about: 'a delta between the base and the fine-tune; repeat it for a chain, in order' },
      'outlier-fraction': { type: 'string', value: 'X', about: 'int4: share of the largest changes that are kept exactly (default 0.01)' },
      sparsity: { type: 'string', value: 'X', about: 'sparse: share of the smallest changes that are dropped (default 0.9)' },
      reference: { type: 'boolean', about: 'write what deltatensors 0.2.0 writes, byte for byte' },
      'base-name': { type: 'string', value: 'TEXT', about: 'where the base is to be had, for whoever lacks it' },
      'hash-order': { type: 'string', value: 'ORDER', about: 'memory or paths: which loader of deltatensors must accept a sharded base' },
      'dry-run': DRY_RUN,
    },
    needs: ['base', 'finetuned'],
    json: '{ job, version, strategy, bytes, finetunedBytes, elements, baseHash, relativeError, tensors: [{ name, dtype, shape, elements, strategy, requested, reason?, bytes, unchanged, relativeError, largestError }], findings, outputs }; with --dry-run { job, bytes, exact, outputs, problems, reads, writes, tensors, elements }',
  },
  decode: {
    usage: 'decode --base PATH -o PATH DELTA… [--dtype base|float32] [--no-verify] [--copy-side-files]',
    about: 'Rebuilds a fine-tune from its base and its delta, or a chain of them in order.',
    examples: `  wdelta decode --base llama/ chat.wdelta -o chat/ --copy-side-files
  wdelta decode --base llama/ chat.wdelta chat-v2.wdelta -o chat-v2/
  wdelta decode --base base.safetensors int4.wdelta -o chat.safetensors --dtype float32
  wdelta decode --base llama/ chat.wdelta --dry-run`,
    files: [1, Infinity],
    flags: {
      base: BASE,
      output: { type: 'string', short: 'o', value: 'PATH', about: 'a file, or a folder (for shards or side files)' },
      dtype: { type: 'string', value: 'DTYPE', about: 'version 1: base (default: as the base has them) or float32' },
      'no-verify': { type: 'boolean', about: 'do not check the hash of the base and the checksum of the deltas' },
      'copy-side-files': { type: 'boolean', about: 'bring config, tokenizer and the like from the base' },
      layout: { type: 'string', value: 'LAYOUT', about: 'version 1: auto (default: sharded as the base) or single (one file)' },
      'dry-run': DRY_RUN,
    },
    needs: ['base'],
    json: '{ job, bytes, dtype, files: [{ path, size }], tensors, links: [{ index, expected, order, verified }], findings, outputs }; with --dry-run as encode',
  },
  verify: {
    usage: 'verify DELTA… [--base PATH]',
    about: 'Reads deltas to the end and checks them; with the base, also whether they fit.',
    examples: `  wdelta verify chat.wdelta
  wdelta verify chat.wdelta chat-v2.wdelta --base llama/`,
    files: [1, Infinity],
    flags: { base: BASE },
    json: '{ ok, version, deltas: [{ index, bytes, checksum, tensors, baseHash, base, lossless?, loss? }], findings }',
  },
  lineage: {
    usage: 'lineage DELTA… [--base PATH]',
    about: 'Puts deltas in order and says which link does not fit.',
    examples: `  wdelta lineage *.wdelta
  wdelta lineage *.wdelta --base llama/`,
    files: [1, Infinity],
    flags: { base: BASE },
    json: '{ ok, order, links: [{ index, parent, state, expected, found?, reason? }], findings }',
  },
  stats: {
    usage: 'stats DELTA… [--base PATH] [--match GLOB]',
    about: 'Shows what a fine-tune changed, tensor by tensor; relative to its base.',
    examples: `  wdelta stats chat.wdelta --base llama/
  wdelta stats chat.wdelta --base llama/ --match '*.q_proj.*' --json > q.jsonl
  wdelta stats int4.wdelta`,
    files: [1, Infinity],
    flags: { base: BASE, match: MATCH },
    json: '{ name, dtype, shape, elements, strategy, rank?, zeros, nonFinite, mean, rms, min, max, norm, baseNorm?, relative?, histogram, rows, outliers, levels? } for each tensor',
  },
  diff: {
    usage: 'diff A B [--base PATH]',
    about: 'Compares two models or two deltas.',
    examples: `  wdelta diff chat/ rebuilt/
  wdelta diff chat.wdelta int4.wdelta --base llama/`,
    files: [2, 2],
    flags: { base: BASE },
    json: '{ kind, onlyA, onlyB, changed: [{ name, a, b, what }], tensors: [{ name, elements, equal, distance, relative, cosine }], totals: { elements, equal, distance, relative, cosine } }',
  },
  hash: {
    usage: 'hash PATH [--float32]',
    about: 'The hashes by which a version 1 delta knows this model as its base.',
    examples: `  wdelta hash llama/
  wdelta hash llama/ --float32`,
    files: [1, 1],
    flags: { float32: { type: 'boolean', about: 'of the values as float32, as after a first delta' } },
    json: '{ as, tensors, bytes, sorted, grouped, agree }',
  },
};
