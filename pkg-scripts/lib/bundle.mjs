// The scripts of the site, linked into few files: a browser asks for three instead of some sixty, and they are a fifth smaller once packed.
import { rollup } from 'rollup';
import { minify } from 'terser';
import { BuildError } from './run.mjs';

/** Modules that the browser starts from; they keep their addresses. */
const WORKER = 'pkg/worker.js';
const ENTRIES = ['js/main.js', WORKER];

/**
 * No getter of ours does anything, no function expression needs its own `this`, and nothing that becomes a text has a `valueOf` of its own, so
 * that `x + ''` says what `String(x)` does. Fewer ways to say the same pack better.
 */
const COMPRESS = { passes: 4, inline: 1, loops: false, pure_getters: true, unsafe: true, unsafe_arrows: true, comparisons: false, lhs_constants: false };

/**
 * Modules of the package for what other callers give, and what stands for them here: the page's calls are checked by their types, and it gives files,
 * handles and links.
 */
export const STAND_INS = new Map([
  ['pkg/checks.js', 'export const checkType = () => {}; export const lookUp = (name, known) => known[name];'],
  ['pkg/source-object.js', 'export const openObject = () => {};'],
  ['pkg/sink-object.js', 'export const openOther = () => {};'],
]);

/**
 * The sample, which is fetched when somebody asks for it, as one file; and the worker with all it needs as one, from which the page takes what it
 * needs too: a file less to ask for, and the two pack better together.
 * @param {string} path
 * @param {{ getModuleInfo(path: string): { importers: readonly string[] } | null }} graph
 * @returns {string | undefined}
 */
function fileOf(path, graph) {
  if (path.startsWith('js/sample/')) return 'js/sample/sample.js';
  const isOfWorker = (/** @type {string} */ one) => one === WORKER || Boolean(graph.getModuleInfo(one)?.importers.some(isOfWorker));
  return isOfWorker(path) ? WORKER : undefined;
}

/** Folder of a path. @param {string} path */
const folderOf = (path) => path.slice(0, path.lastIndexOf('/') + 1);

/**
 * A script without comments and long names.
 *
 * @param {string} path
 * @param {string} text
 */
export async function minified(path, text) {
  const { code } = await minify({ [path]: text }, { module: true, ecma: 2020, compress: COMPRESS });
  return String(code);
}

/**
 * Links modules.
 *
 * @param {Map<string, string>} modules by path
 * @param {Map<string, string>} [standIns] by the path of what they replace; one that replaces nothing is an error
 * @returns {Promise<Map<string, string>>} scripts by path
 */
export async function bundle(modules, standIns = new Map()) {
  const inputs = Object.fromEntries(ENTRIES.map((path) => [path, path]));
  const unused = new Set(standIns.keys());
  const linked = await rollup({
    input: inputs,
    preserveEntrySignatures: 'allow-extension',
    onwarn({ message }) {
      throw new BuildError(`the site cannot be linked: ${message}`);
    },
    plugins: [
      {
        name: 'modules',
        // A module finds others by `import.meta.url`, also in a file of another folder.
        resolveImportMeta: (property, { chunkId, moduleId }) =>
          property === 'url' && folderOf(chunkId) !== folderOf(moduleId)
            ? `new URL('${folderOf(chunkId).replace(/[^/]+/g, '..')}${moduleId}', import.meta.url)`
            : undefined,
        resolveId: (to, from) => (from ? new URL(to, `file:///${from}`).pathname.slice(1) : to),
        load(path) {
          // Without this rollup would look for it on the disk.
          if (!modules.has(path)) throw new BuildError(`${path} is imported, but is no part of the site.`);
          unused.delete(path);
          return standIns.get(path) ?? modules.get(path);
        },
      },
    ],
  });
  // Its module was renamed or split: the page would carry it whole again, and only grow.
  if (unused.size > 0) throw new BuildError(`${[...unused].join(', ')} has a stand-in, but the site asks for no such module; see STAND_INS in pkg-scripts/lib/bundle.mjs.`);
  const { output } = await linked.generate({
    entryFileNames: '[name]',
    chunkFileNames: '[name]',
    manualChunks: fileOf,
    onlyExplicitManualChunks: true,
    generatedCode: 'es2015',
  });
  const scripts = new Map();
  for (const part of output) if (part.type === 'chunk') scripts.set(part.fileName, await minified(part.fileName, part.code));
  return scripts;
}
