// Takes the source locations of panics out of a wasm module: what rustc's unstable `-Zlocation-detail=none` leaves out.
//
// Every call that can panic passes the address of a `core::panic::Location` of its own: 16 bytes with the address and
// length of the file's name, line and column. Here all of them pass one and the same, named `<wasm>`, line 0; the others
// are zeroed, and so are the file names. The message of a panic is not touched, and a stack in the console still names
// the functions of a build that has names. Lengths and addresses stay as they are.
//
// A location is only taken out if it can be nothing else: its address is the last argument of calls to functions of
// `core` that panic, and no other constant of the code and no word of the data points into its 16 bytes.
import { BuildError } from './run.mjs';

/** Functions whose last parameter is the location, by the names that wasm-bindgen leaves in the module. */
const PANICS = [
  /^core::panicking::\w+/,
  /^core::(option|result)::\w+_failed/,
  /^core::cell::panic_already\w+/,
  /^core::slice::index::\w+_fail/,
  /^core::slice::copy_from_slice_impl\b/,
  /^core::str::slice_error_fail\b/,
];

/** What the one location that is left says instead of a file, where a file's name is free to be overwritten. */
const NAME = new TextEncoder().encode('<wasm>');
const LOCATION_BYTES = 16;
const MOST_LINES = 100_000;
const MOST_COLUMNS = 1_000;
const LONGEST_NAME = 250;

/** Section numbers of the format. */
const CUSTOM = 0;
const CODE = 10;
const DATA = 11;

class Cursor {
  /**
   * @param {Uint8Array} bytes
   * @param {number} at
   */
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
  }

  byte() {
    return this.bytes[this.at++];
  }

  number() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  signed() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(Number(shift) + 7, value);
    }
  }

  text() {
    const len = this.number();
    this.at += len;
    return new TextDecoder().decode(this.bytes.subarray(this.at - len, this.at));
  }
}

/** @param {Uint8Array} wasm */
function sections(wasm) {
  const cursor = new Cursor(wasm, 8);
  const found = [];
  while (cursor.at < wasm.length) {
    const id = cursor.byte();
    const len = cursor.number();
    found.push({ id, start: cursor.at, end: cursor.at + len });
    cursor.at += len;
  }
  return found;
}

/**
 * Names of functions by number, without hashes of crates.
 *
 * @param {Uint8Array} wasm
 * @param {{ start: number, end: number }} section
 */
function functionNames(wasm, { start, end }) {
  const names = new Map();
  const cursor = new Cursor(wasm, start);
  if (cursor.text() !== 'name') return names;
  while (cursor.at < end) {
    const kind = cursor.byte();
    const next = cursor.number() + cursor.at;
    if (kind === 1) {
      for (let n = cursor.number(); n > 0; n--) {
        const number = cursor.number();
        names.set(number, cursor.text().replace(/\[[0-9a-f]+\]/g, ''));
      }
    }
    cursor.at = next;
  }
  return names;
}

/**
 * Passes over one instruction's operands, and tells of the constants and addresses among them.
 *
 * @param {Cursor} c
 * @param {number} code
 * @param {(value: number, at: number, whole: boolean) => void} constant a 32-bit part of a constant; `whole` for an `i32.const`
 * @returns {number | undefined} the function that it calls
 */
function operands(c, code, constant) {
  const memory = () => {
    if (c.number() & 64) c.number();
    constant(c.number(), c.at, false);
  };
  const skip = (/** @type {number} */ n) => {
    for (; n > 0; n--) c.number();
  };
  const words = (/** @type {number} */ n) => {
    const view = new DataView(c.bytes.buffer, c.bytes.byteOffset + c.at, 4 * n);
    for (let i = 0; i < n; i++) constant(view.getUint32(4 * i, true), c.at, false);
    c.at += 4 * n;
  };
  if (code === 0x10) return c.number();
  if (code >= 0x28 && code <= 0x3e) memory();
  else if (code >= 0x02 && code <= 0x04) c.signed();
  else if (code === 0x0c || code === 0x0d || code === 0x12) skip(1);
  else if (code === 0x0e) skip(c.number() + 1);
  else if (code === 0x11 || code === 0x13) skip(2);
  else if (code === 0x1c) skip(c.number());
  else if ((code >= 0x20 && code <= 0x26) || code === 0x3f || code === 0x40 || code === 0xd0 || code === 0xd2) skip(1);
  else if (code === 0x41) {
    const at = c.at;
    constant(Number(BigInt.asUintN(32, c.signed())), at, true);
  } else if (code === 0x42) {
    const value = BigInt.asUintN(64, c.signed());
    constant(Number(value & 0xffffffffn), c.at, false);
    constant(Number(value >> 32n), c.at, false);
  } else if (code === 0x43) words(1);
  else if (code === 0x44) words(2);
  else if (code === 0xfc) {
    const sub = c.number();
    if (sub > 17) throw new BuildError(`the wasm module has the unknown instruction 0xfc ${sub}.`);
    if (sub >= 8) skip(sub === 8 || sub === 10 || sub === 12 || sub === 14 ? 2 : 1);
  } else if (code === 0xfd) {
    const sub = c.number();
    if (sub === 12) words(4);
    else if (sub === 13) c.at += 16;
    else if (sub >= 21 && sub <= 34) c.at++;
    else if (sub <= 11 || (sub >= 84 && sub <= 93)) {
      memory();
      if (sub >= 84 && sub <= 91) c.at++;
    }
  } else if (!(code <= 0x01 || code === 0x05 || code === 0x0b || code === 0x0f || (code >= 0x1a && code <= 0x1b))) {
    if (!((code >= 0x45 && code <= 0xc4) || code === 0xd1))
      throw new BuildError(`the wasm module has the unknown instruction 0x${code.toString(16)}.`);
  }
  return undefined;
}

/** The module's data as one piece of memory. */
class Memory {
  /**
   * @param {Uint8Array} wasm
   * @param {number} start of the data section
   */
  constructor(wasm, start) {
    const cursor = new Cursor(wasm, start);
    /** @type {{ address: number, bytes: Uint8Array }[]} */
    this.segments = [];
    for (let n = cursor.number(); n > 0; n--) {
      if (cursor.number() !== 0 || cursor.byte() !== 0x41) throw new BuildError('the wasm module has data of an unknown kind.');
      const address = Number(cursor.signed());
      cursor.at++;
      const len = cursor.number();
      this.segments.push({ address, bytes: wasm.subarray(cursor.at, cursor.at + len) });
      cursor.at += len;
    }
  }

  /**
   * @param {number} address
   * @param {number} len
   */
  slice(address, len) {
    for (const { address: start, bytes } of this.segments)
      if (address >= start && address + len <= start + bytes.length) return bytes.subarray(address - start, address - start + len);
    return undefined;
  }

  /**
   * The location at an address, if what is there can be one.
   *
   * @param {number} address
   */
  location(address) {
    const bytes = address % 4 === 0 ? this.slice(address, LOCATION_BYTES) : undefined;
    if (!bytes) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const [name, len, line, column] = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
    if (line < 1 || line > MOST_LINES || column < 1 || column > MOST_COLUMNS || len < 4 || len > LONGEST_NAME) return undefined;
    const text = this.slice(name, len);
    const before = this.slice(name - 1, 1);
    if (!text || !new TextDecoder().decode(text).endsWith('.rs')) return undefined;
    return { address, bytes, name, len, text, alone: before?.[0] === 0 };
  }
}

/** Numbers that are asked for by range. */
class Sorted {
  /** @param {Iterable<number>} numbers */
  constructor(numbers) {
    this.numbers = [...new Set(numbers)].sort((a, b) => a - b);
  }

  /**
   * The first number from `from` on and below `end`.
   *
   * @param {number} from
   * @param {number} end
   */
  within(from, end) {
    let [low, high] = [0, this.numbers.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.numbers[middle] < from) low = middle + 1;
      else high = middle;
    }
    return this.numbers[low] < end;
  }
}

/**
 * Takes out the locations of panics.
 *
 * @param {Uint8Array} input a module with names of functions; it is not changed
 * @returns {{ wasm: Uint8Array, locations: number }} the module, and how many locations were taken out
 */
export function withoutLocations(input) {
  const wasm = input.slice();
  const parts = sections(wasm);
  const data = parts.find(({ id }) => id === DATA);
  const code = parts.find(({ id }) => id === CODE);
  if (!data || !code) return { wasm, locations: 0 };
  const memory = new Memory(wasm, data.start);
  const names = new Map(parts.filter(({ id }) => id === CUSTOM).flatMap((part) => [...functionNames(wasm, part)]));

  /** @type {Map<number, number[]>} positions of the constants that give each location to a panic */
  const given = new Map();
  /** @type {number[]} every other constant */
  const others = [];
  const cursor = new Cursor(wasm, code.start);
  for (let n = cursor.number(); n > 0; n--) {
    const end = cursor.number() + cursor.at;
    for (let groups = cursor.number(); groups > 0; groups--) {
      cursor.number();
      cursor.number();
    }
    /** @type {{ value: number, at: number } | undefined} an `i32.const` that the next instruction may pass on */
    let last;
    while (cursor.at < end) {
      const before = last;
      last = undefined;
      const called = operands(cursor, cursor.byte(), (value, at, whole) => {
        if (whole) last = { value, at };
        else others.push(value);
      });
      if (!before) continue;
      const name = called === undefined ? undefined : names.get(called);
      if (name && PANICS.some((pattern) => pattern.test(name)) && memory.location(before.value))
        given.set(before.value, [...(given.get(before.value) ?? []), before.at]);
      else others.push(before.value);
    }
  }

  const found = [...given.keys()].flatMap((address) => memory.location(address) ?? []);
  const isLocation = new Set(found.flatMap(({ address }) => [0, 1, 2, 3].map((i) => address + i)));
  for (const { address, bytes } of memory.segments) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    // At any alignment. The names of locations are pointed to by locations, which is not to count.
    for (let i = 0; i + 4 <= bytes.length; i++) if (!isLocation.has(address + i)) others.push(view.getUint32(i, true));
  }
  const used = new Sorted(others);
  const free = found.filter(({ address }) => !used.within(address, address + LOCATION_BYTES));
  const width = (/** @type {number} */ position) => {
    const number = new Cursor(wasm, position);
    number.signed();
    return number.at - position;
  };
  // The address that all get must be as long in the code as those that it replaces.
  const [first] = free;
  const lengths = new Set(free.flatMap(({ address }) => (given.get(address) ?? []).map(width)));
  if (!first || lengths.size !== 1) return { wasm, locations: 0 };

  const kept = new Sorted(found.filter((location) => !free.includes(location)).map(({ name }) => name));
  const [one] = given.get(first.address) ?? [];
  const shared = wasm.slice(one, one + width(one));
  for (const { address, bytes } of free) {
    for (const position of given.get(address) ?? []) wasm.set(shared, position);
    bytes.fill(0);
  }
  const nameless = free.filter(({ name, len, alone }) => alone && !used.within(name, name + len) && !kept.within(name, name + len));
  for (const { text } of nameless) text.fill(0);
  const home = nameless.find(({ len }) => len >= NAME.length);
  const view = new DataView(first.bytes.buffer, first.bytes.byteOffset);
  if (home) {
    home.text.set(NAME);
    view.setUint32(0, home.name, true);
    view.setUint32(4, NAME.length, true);
  } else {
    view.setUint32(0, 1, true);
  }
  return { wasm, locations: free.length };
}
