// Speed of the version 2 coder in wasm, one thread, from bytes in memory to bytes in memory; by CPU time, best of a few.
//
// From the root of the repository, so that the flags of .cargo/config.toml hold:
//   cargo build --release --target wasm32-unknown-unknown --manifest-path benches/v2_wasm/Cargo.toml
//   node benches/v2_wasm/speed.mjs MODULE.wasm DATA [FILTER]

import { readFileSync } from 'node:fs'

const [, , file, data, filter = ''] = process.argv
const module = new WebAssembly.Module(readFileSync(file))
const imports = {}
// The bindings of the product are linked in but never called.
for (const { module: m, name } of WebAssembly.Module.imports(module)) (imports[m] ??= {})[name] = () => 0

const PAIRS = [
  ['minilm-bf16', 'base', 'ft-step1'],
  ['minilm-bf16', 'base', 'ft-sft'],
  ['minilm-bf16', 'base', 'ft-lr1e-4'],
  ['minilm-bf16', 'base', 'ft-lr1e-6'],
  ['tinyllama-local', 'base', 'ft-sft'],
  ['minilm-f32', 'base', 'ft'],
  // The same weights, rounded.
  ['minilm-f32', 'base', 'ft', 'float16'],
]
const EFFORTS = [['effort 0', 0], ['effort 1', 1], ['effort 2', 2]]

const parse = (bytes) => {
  const n = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + n).toString())
  delete header.__metadata__
  return Object.entries(header).map(([name, t]) => ({ name, ...t, bytes: bytes.subarray(8 + n + t.data_offsets[0], 8 + n + t.data_offsets[1]) }))
}

/** Shortest time that is told apart, in ms: systems count a process's time in ticks of some milliseconds. */
const ENOUGH = 150

/** User time of `n` calls, in ms. */
const time = (f, n) => {
  const start = process.cpuUsage()
  for (let i = 0; i < n; i++) f()
  return process.cpuUsage(start).user / 1e3
}

/** Time of one call in the best of five series. */
const best = (f) => {
  let n = 1
  while (time(f, n) < ENOUGH) n *= 2
  return Math.min(...Array.from({ length: 5 }, () => time(f, n))) / n
}

for (const [model, a, b, as = ''] of PAIRS) {
  const title = `${model} ${a} -> ${b} ${as}`.trimEnd()
  if (!title.includes(filter)) continue
  const { exports: x } = new WebAssembly.Instance(module, imports)
  const fine = new Map(parse(readFileSync(`${data}/${model}/${b}.safetensors`)).map((t) => [t.name, t]))
  let weights = 0
  const put = (bytes) => {
    const at = x.room(bytes.length)
    new Uint8Array(x.memory.buffer, at, bytes.length).set(bytes)
    return at
  }
  for (const t of parse(readFileSync(`${data}/${model}/${a}.safetensors`))) {
    const [rows, columns] = t.shape.length > 1 ? t.shape : [0, t.shape[0]]
    const wide = t.dtype === 'F32'
    x.tensor(as ? 2 : +wide, rows, columns, put(t.bytes), put(fine.get(t.name).bytes), t.bytes.length)
    weights += t.bytes.length / (wide ? 4 : 2)
  }
  const rate = (ms) => (weights / ms / 1e3).toFixed(0).padStart(4)
  for (const [name, ...effort] of EFFORTS) {
    const encode = best(() => x.encode(...effort))
    const fit = best(() => x.fit(...effort))
    const decode = best(() => x.decode())
    if (!x.check()) throw new Error('not rebuilt')
    console.log(`${title.padEnd(34)} ${name.padEnd(9)} encode ${rate(encode)} (fit ${rate(fit)}, block ${rate(encode - fit)})  decode ${rate(decode)} M/s  ${(x.digest() >>> 0).toString(16)}`)
  }
}
