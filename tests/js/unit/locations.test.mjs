// The locations of panics are taken out of a module, and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import binaryen from '../../../pkg-scripts/node_modules/binaryen/index.js';
import { withoutLocations } from '../../../pkg-scripts/lib/locations.mjs';

const START = 1 << 20;
const word = (/** @type {number} */ n) => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
const text = (/** @type {string} */ t) => [...new TextEncoder().encode(t)];

/** A file name after a zero, then locations in it, then further words. */
const NAMES = ['src/one.rs', 'src/two.rs', 'src/three.rs'];
const nameAt = (/** @type {number} */ i) => START + 1 + NAMES.slice(0, i).reduce((sum, name) => sum + name.length + 1, 0);
const FIRST = START + 64;
const locationAt = (/** @type {number} */ i) => FIRST + 16 * i;
/** @type {[number, number, number][]} file, line, column */
const LOCATIONS = [
  [0, 10, 5],
  [0, 20, 6],
  [1, 30, 7],
  [1, 40, 8],
  [2, 50, 9],
  [2, 60, 3],
];

/**
 * A module whose function `f(i)` panics at location i, and whose function `other` gives the address of location 3.
 *
 * @param {number[]} words after the locations
 */
function build(words) {
  const names = NAMES.flatMap((name) => [0, ...text(name)]);
  const data = [...names, ...Array(FIRST - START - names.length).fill(0)];
  for (const [file, line, column] of LOCATIONS)
    data.push(...word(nameAt(file)), ...word(NAMES[file].length), ...word(line), ...word(column));
  data.push(...words.flatMap(word));
  const escaped = data.map((b) => `\\${b.toString(16).padStart(2, '0')}`).join('');
  const panics = LOCATIONS.map(
    (_, i) => `(if (i32.eq (local.get 0) (i32.const ${i}))
      (then (call $"core[0123456789abcdef]::panicking::panic_bounds_check" (i32.const ${i + 100}) (i32.const 7) (i32.const ${locationAt(i)}))))`,
  );
  const module = binaryen.parseText(`(module
    (import "host" "panic" (func $"core[0123456789abcdef]::panicking::panic_bounds_check" (param i32 i32 i32)))
    (import "host" "note" (func $note (param i32)))
    (memory (export "memory") 17)
    (data (i32.const ${START}) "${escaped}")
    (func (export "f") (param i32) ${panics.join(' ')})
    (func (export "other") (call $note (i32.const ${locationAt(3)}))))`);
  binaryen.setDebugInfo(true);
  const wasm = module.emitBinary();
  module.dispose();
  return wasm;
}

/** @param {Uint8Array} wasm */
async function load(wasm) {
  /** @type {number[][]} */
  const calls = [];
  const host = { panic: (/** @type {number[]} */ ...args) => calls.push(args), note: (/** @type {number} */ at) => calls.push([at]) };
  const { instance } = await WebAssembly.instantiate(wasm, { host });
  const { f, other, memory } = /** @type {any} */ (instance.exports);
  const view = new DataView(memory.buffer);
  const location = (/** @type {number} */ at) => {
    const [name, len, line, column] = [0, 4, 8, 12].map((i) => view.getUint32(at + i, true));
    return `${new TextDecoder().decode(new Uint8Array(memory.buffer, name, len))}:${line}:${column}`;
  };
  const panic = (/** @type {number} */ i) => {
    calls.length = 0;
    f(i);
    return { index: calls[0][0], len: calls[0][1], location: location(calls[0][2]) };
  };
  const noted = () => {
    calls.length = 0;
    other();
    return calls[0][0];
  };
  const all = () => new TextDecoder('latin1').decode(new Uint8Array(memory.buffer, START, 256));
  return { panic, noted, location, all };
}

test('panics share one location, and keep what they say', async () => {
  const { wasm, locations } = withoutLocations(build([]));
  const { panic } = await load(wasm);
  assert.equal(locations, 5);
  for (const i of [0, 1, 2, 4, 5]) assert.deepEqual(panic(i), { index: 100 + i, len: 7, location: '<wasm>:0:0' });
});

test('a location that is used otherwise stays, with its file', async () => {
  const { panic, noted, location, all } = await load(withoutLocations(build([])).wasm);
  assert.deepEqual(panic(3), { index: 103, len: 7, location: 'src/two.rs:40:8' });
  assert.equal(noted(), locationAt(3));
  assert.equal(location(noted()), 'src/two.rs:40:8');
  assert.ok(!all().includes('three'));
});

test('a location or a file that data points to stays', async () => {
  const { wasm, locations } = withoutLocations(build([locationAt(0) + 8, nameAt(2) + 4]));
  const { panic, all } = await load(wasm);
  assert.equal(locations, 4);
  assert.equal(panic(0).location, 'src/one.rs:10:5');
  // No file's name is free, so the shared location has none.
  assert.equal(panic(1).location, ':0:0');
  assert.ok(all().includes('src/three.rs'));
});

test('the module stays as long as it is, and the input as it was', () => {
  const input = build([]);
  const before = input.slice();
  const { wasm } = withoutLocations(input);
  assert.deepEqual(input, before);
  assert.equal(wasm.length, input.length);
  assert.notDeepEqual(wasm, input);
});

test('a module without names or data is left alone', () => {
  const empty = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
  assert.deepEqual(withoutLocations(empty), { wasm: empty, locations: 0 });
});
