// The scripts of the site, linked into few files: a browser asks for four instead of some sixty, and they are a fifth smaller once packed.
import { rollup } from 'rollup';
import { minify } from 'terser';
import { BuildError } from './run.mjs';

/** Modules that the browser starts from; they keep their addresses. */
const ENTRIES = ['js/main.js', 'pkg/index.js', 'pkg/worker.js'];

/** No getter of ours does anything, and no function expression needs its own `this`. Fewer ways to say the same pack better. */
const COMPRESS = { passes: 4, inline: 1, loops: false, pure_getters: true, unsafe_arrows: true, comparisons: false, lhs_constants: false };

/**
 * In which file a module ends up, unless rollup decides. A file lies in its modules' folder: they find others by `import.meta.url`.
 *
 * @param {string} path
 */
function fileOf(path) {
  // Fetched when somebody asks for the sample.
  if (path.startsWith('js/sample/')) return 'js/sample/sample.js';
  return path.startsWith('js/') ? 'js/main.js' : undefined;
}

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
 * @returns {Promise<Map<string, string>>} scripts by path
 */
export async function bundle(modules) {
  const inputs = Object.fromEntries(ENTRIES.map((path) => [path, path]));
  const linked = await rollup({
    input: inputs,
    preserveEntrySignatures: 'allow-extension',
    onwarn({ message }) {
      throw new BuildError(`the site cannot be linked: ${message}`);
    },
    plugins: [
      {
        name: 'modules',
        resolveId: (to, from) => (from ? new URL(to, `file:///${from}`).pathname.slice(1) : to),
        load(path) {
          // Without this rollup would look for it on the disk.
          if (!modules.has(path)) throw new BuildError(`${path} is imported, but is no part of the site.`);
          return modules.get(path);
        },
      },
    ],
  });
  const { output } = await linked.generate({
    entryFileNames: '[name]',
    // What the package's entry and its worker share.
    chunkFileNames: ({ name }) => (name.startsWith('js/') ? '[name]' : 'pkg/shared.js'),
    manualChunks: fileOf,
    generatedCode: 'es2015',
  });
  const scripts = new Map();
  for (const part of output) if (part.type === 'chunk') scripts.set(part.fileName, await minified(part.fileName, part.code));
  return scripts;
}
