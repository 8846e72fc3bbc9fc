// Where the test models lie, and a reader of small bf16 safetensors that shares no code with the package.

import { readFile } from 'node:fs/promises';

/** Folder with the whole stories260k models. */
export const DATA = new URL('../data/stories260k-full/', import.meta.url);

/** Every tensor of a bf16 safetensors file as float32, in the form of the package's `tensors()`. */
export const floatTensors = async (url) => floatsOf(await readFile(url));

/** The same of a file's bytes. */
export function floatsOf(bytes) {
  const raw = Buffer.from(bytes);
  const length = Number(raw.readBigUInt64LE(0));
  const header = JSON.parse(raw.subarray(8, 8 + length).toString());
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const bits = new Uint32Array((to - from) / 2);
        for (let i = 0; i < bits.length; i++) bits[i] = raw.readUInt16LE(8 + length + from + 2 * i) << 16;
        return { name, shape, data: new Float32Array(bits.buffer) };
      },
    );
}
