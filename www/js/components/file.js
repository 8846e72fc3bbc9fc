// @ts-check
// The file as it lies on disk: a strip of its parts to scale, and the first bytes of a record in hex.

import { fill, h, segmented, select } from '../dom.js';
import { bytes, exact, number } from '../format.js';

/** @import { Inspection, RecordPlace, Row, Source } from '../types.js' */

/** Bytes of a record that the hex view shows. */
const HEX_BYTES = 256;

/** @param {Inspection} info @param {Row | undefined} row */
export function fileStrip({ bytes: size, layout }, row) {
  const { sets = [] } = layout;
  const parts = [
    { label: 'Header', ...layout.header },
    { label: 'Payload', ...layout.payload },
    ...(sets.length ? [{ label: 'Tables', offset: sets[0].offset, length: sets.reduce((sum, { length }) => sum + length, 0) }] : []),
    { label: 'Checksum', ...layout.checksum },
  ].sort((a, b) => a.offset - b.offset);
  const share = (/** @type {number} */ n) => `${((n / size) * 100).toFixed(4)}%`;
  const from = row?.records.length ? Math.min(...row.records.map(({ offset }) => offset)) : 0;
  const to = row?.records.length ? Math.max(...row.records.map(({ offset, length }) => offset + length)) : 0;
  // Version 2 codes several tensors as one block.
  const shared = row?.records.some(({ length }) => length > row.bytes);
  return h(
    'figure',
    { class: 'strip' },
    h(
      'div',
      {
        class: 'strip-bar',
        role: 'img',
        'aria-label': `The file: ${parts.map(({ label, length }) => `${label} ${bytes(length)}`).join(', ')}${to ? `; the selected tensor at ${exact(from)}, ${bytes(to - from)}` : ''}`,
      },
      parts.map(({ label, offset, length }) =>
        h('span', { class: `part ${label.toLowerCase()}`, vars: { '--x': share(offset), '--w': share(length) } }),
      ),
      to ? h('span', { class: 'mark', vars: { '--x': share(from), '--w': share(to - from) } }) : null,
    ),
    h(
      'figcaption',
      { class: 'num' },
      parts.map(({ label, length }) =>
        h(
          'span',
          null,
          h('span', { class: `swatch ${label.toLowerCase()}` }),
          `${label} `,
          h('span', { class: 'muted' }, bytes(length)),
        ),
      ),
      to ? h('span', null, h('span', { class: 'swatch mark' }), `${shared ? 'Block of the selection' : 'Selection'}, bytes ${exact(from)} … ${exact(to - 1)}`) : null,
    ),
  );
}

/** Bytes of a source, as many as the hex view needs. @param {Source} source @param {number} offset @param {number} length */
export async function peek(source, offset, length) {
  if (source instanceof Blob) return new Uint8Array(await source.slice(offset, offset + length).arrayBuffer());
  if (typeof source !== 'string') return new Uint8Array();
  const response = await fetch(source, {
    headers: { Range: `bytes=${offset}-${offset + length - 1}` },
    credentials: 'omit',
    referrerPolicy: 'no-referrer',
  });
  return response.status === 206 ? new Uint8Array(await response.arrayBuffer()) : new Uint8Array();
}

/** @type {Record<string, [size: number, read: (view: DataView, at: number) => number]>} */
const READERS = {
  int64: [8, (view, at) => Number(view.getBigInt64(at, true))],
  float32: [4, (view, at) => view.getFloat32(at, true)],
  float16: [2, (view, at) => half(view.getUint16(at, true))],
};

/** The numbers in bytes; none in those of a packed type. @param {Uint8Array} found @param {string} dtype */
export function valuesOf(found, dtype) {
  const [size, read] = READERS[dtype] ?? [Infinity, () => 0];
  const view = new DataView(found.buffer, found.byteOffset, found.byteLength);
  const values = [];
  for (let at = 0; at + size <= found.length; at += size) values.push(read(view, at));
  return values;
}

/** @param {number} bits of a binary16 */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** Which record of a tensor is looked at: it stays so while the details are drawn anew. @type {WeakMap<RecordPlace[], string>} */
const looked = new WeakMap();

/**
 * The records of a tensor: where each lies, and its first bytes.
 * @param {Source} source @param {RecordPlace[]} records
 */
export function recordView(source, records) {
  if (!records.length) return h('p', { class: 'muted' }, 'Nothing is stored for this tensor.');
  const hex = h('pre', { class: 'hex', tabindex: 0, 'aria-label': 'First bytes of the record' });
  const facts = h('p', { class: 'num muted' });
  const tabs = h('div');
  // A large tensor of version 2 has many blocks.
  const blocks = records.filter(({ field }) => field === 'block').length;
  const first = records.length - blocks;
  const names = records.map(({ field }, i) => /** @type {[string, string]} */ ([`${i}`, blocks > 1 && i >= first ? `block ${i - first + 1} of ${blocks}` : field]));
  const show = async (/** @type {string} */ key) => {
    const record = records[Number(key)];
    looked.set(records, key);
    fill(tabs, (blocks > 1 ? select : segmented)('Record', names, key, show));
    facts.textContent = `${record.dtype} · ${exact(record.elements)} values · offset ${exact(record.offset)} · length ${exact(record.length)}`;
    hex.setAttribute('aria-busy', 'true');
    try {
      const found = await peek(source, record.offset, Math.min(HEX_BYTES, record.length));
      hex.textContent = dump(found, record);
    } catch (error) {
      hex.textContent = `The bytes cannot be read: ${/** @type {Error} */ (error).message}`;
    }
    hex.removeAttribute('aria-busy');
  };
  void show(looked.get(records) ?? '0');
  return h('div', { class: 'records' }, tabs, facts, hex);
}

/** @param {Uint8Array} found @param {RecordPlace} record */
function dump(found, { offset, dtype }) {
  if (!found.length) return 'No bytes: the record is empty.';
  /** @type {string[]} */
  const lines = [];
  for (let at = 0; at < found.length; at += 8) {
    const row = found.subarray(at, at + 8);
    const hex = Array.from(row, (byte) => byte.toString(16).padStart(2, '0'))
      .join(' ')
      .padEnd(23);
    const values = valuesOf(row, dtype).map(dtype === 'int64' ? exact : number);
    lines.push(`${(offset + at).toString(16).padStart(8, '0')}  ${hex}  ${values.join('  ')}`.trimEnd());
  }
  return lines.join('\n');
}
