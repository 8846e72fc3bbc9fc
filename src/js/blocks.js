// @ts-check
// Read-ahead for sources where each read costs a round trip: small reads are answered from whole blocks, which are kept
// for a while. Records of a delta lie side by side, and several of them are read in turn.

/** Reads up to this length go through blocks of it, in bytes. */
export const BLOCK = 64 << 10;
/** Blocks that are kept. */
const MAX_BLOCKS = 32;

export class Blocks {
  /** Blocks by number, the longest unused first. @type {Map<number, Promise<Uint8Array>>} */
  #kept = new Map();

  /**
   * @param {number} size of the source
   * @param {(start: number, end: number) => Promise<Uint8Array>} fetchRange gives exactly that range, or throws
   */
  constructor(size, fetchRange) {
    this.size = size;
    this.fetchRange = fetchRange;
  }

  /**
   * @param {number} offset
   * @param {number} len
   * @param {(part: Uint8Array, from: number) => void} put takes each part of it, `from` bytes after `offset`
   */
  async read(offset, len, put) {
    const end = offset + len;
    if (len > BLOCK) return put(await this.fetchRange(offset, end), 0);
    for (let at = offset; at < end; ) {
      const number = Math.floor(at / BLOCK);
      const from = at - number * BLOCK;
      const part = (await this.#block(number)).subarray(from, from + end - at);
      put(part, at - offset);
      at += part.length;
    }
  }

  /** @param {number} number */
  #block(number) {
    const kept = this.#kept;
    let block = kept.get(number);
    if (!block) {
      block = this.fetchRange(number * BLOCK, Math.min((number + 1) * BLOCK, this.size));
      block.catch(() => kept.delete(number));
    }
    kept.delete(number);
    kept.set(number, block);
    if (kept.size > MAX_BLOCKS) kept.delete(/** @type {number} */ (kept.keys().next().value));
    return block;
  }
}
