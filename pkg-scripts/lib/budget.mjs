// What a browser has to load, against the bounds that the project has set itself.
import { brotliCompressSync, constants } from 'node:zlib'
import ts from 'typescript'
import { BuildError } from './run.mjs'

/** Largest wasm module, in bytes after brotli 11. */
const WASM_BYTES = 150_000
/** Largest sum of all modules but the command line, in bytes, without comments, each after brotli 11. */
const SCRIPT_BYTES = 20_000

/** @param {Buffer} bytes */
function brotli(bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length }
  return brotliCompressSync(bytes, { params }).length
}

/** @param {string} text */
function withoutComments(text) {
  const compilerOptions = { removeComments: true, target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext }
  return ts.transpileModule(text, { compilerOptions }).outputText
}

/**
 * Prints the package's sizes; throws if one is over its bound.
 *
 * @param {Map<string, Buffer | string>} files the package's content by relative path
 */
export function checkBudgets(files) {
  const modules = [...files.keys()].filter(path => path.endsWith('.js') && path !== 'cli.js')
  const sizes = modules.map(path => {
    const text = Buffer.from(withoutComments(String(files.get(path))))
    return { path, plain: text.length, packed: brotli(text) }
  })
  const wasm = Buffer.from(files.get('wdelta_bg.wasm') ?? '')
  const rows = [
    { what: 'wasm', plain: wasm.length, packed: brotli(wasm), bound: WASM_BYTES },
    {
      what: `JavaScript (${modules.length} modules, no comments)`,
      plain: sizes.reduce((sum, s) => sum + s.plain, 0),
      packed: sizes.reduce((sum, s) => sum + s.packed, 0),
      bound: SCRIPT_BYTES,
    },
  ]
  const n = (/** @type {number} */ value) => value.toLocaleString('en-US')
  for (const { what, plain, packed, bound } of rows) console.log(`${what}: ${n(plain)} bytes, brotli ${n(packed)} of ${n(bound)}`)

  const over = rows.filter(row => row.packed > row.bound)
  if (over.length === 0) return
  for (const { path, plain, packed } of sizes.sort((a, b) => b.packed - a.packed)) console.log(`  ${path}: ${n(plain)}, brotli ${n(packed)}`)
  throw new BuildError(`over budget: ${over.map(row => row.what).join(', ')}.`)
}
