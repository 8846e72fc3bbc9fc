// @ts-check
// A byte-fallback BPE tokenizer, read from a Hugging Face `tokenizer.json` of the Llama kind.

const SPACE = '\u2581';

/**
 * What of `tokenizer.json` is used.
 * @typedef {{ model: { type: string, vocab: Record<string, number>, merges: (string | [string, string])[] } }} TokenizerJson
 */

export class Tokenizer {
  /** @type {Map<string, number>} piece to token */
  #ids;
  /** @type {string[]} token to piece */
  #pieces = [];
  /** @type {Map<string, { rank: number, piece: string }>} "left\0right" to its merge; a lower rank merges first */
  #merges = new Map();

  /**
   * @param {TokenizerJson} json a parsed `tokenizer.json` whose model is BPE
   * @throws {Error} if it is of another kind
   */
  constructor(json) {
    if (json.model?.type !== 'BPE') throw new Error('The tokenizer is not a BPE tokenizer.');
    this.#ids = new Map(Object.entries(json.model.vocab));
    for (const [piece, id] of this.#ids) this.#pieces[id] = piece;
    json.model.merges.forEach((merge, rank) => {
      const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge;
      this.#merges.set(`${left}\0${right}`, { rank, piece: left + right });
    });
  }

  /**
   * Text to tokens, without begin and end marks. A space is put in front, as the normalizer of this family does.
   * @param {string} text
   * @returns {number[]}
   */
  encode(text) {
    const pieces = [...(SPACE + text.replaceAll(' ', SPACE))].flatMap((char) =>
      this.#ids.has(char) ? [char] : bytePieces(char),
    );
    for (;;) {
      let best = -1;
      let found;
      for (let i = 0; i + 1 < pieces.length; i++) {
        const merge = this.#merges.get(`${pieces[i]}\0${pieces[i + 1]}`);
        if (merge && (!found || merge.rank < found.rank)) [best, found] = [i, merge];
      }
      if (!found) break;
      pieces.splice(best, 2, found.piece);
    }
    return pieces.map((piece) => this.#ids.get(piece) ?? 0);
  }

  /**
   * A decoder for tokens that come one by one. `push` returns the text that a token completes: empty while the bytes
   * of one character are still coming.
   * @returns {{ push(token: number): string }}
   */
  decoder() {
    const utf8 = new TextDecoder();
    const encoder = new TextEncoder();
    let first = true;
    return {
      push: (token) => {
        const piece = this.#pieces[token] ?? '';
        const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
        let text = '';
        if (byte) text = utf8.decode(Uint8Array.of(parseInt(byte[1], 16)), { stream: true });
        else if (!/^<.*>$/.test(piece))
          text = utf8.decode(encoder.encode(piece.replaceAll(SPACE, ' ')), { stream: true });
        if (first && text) {
          first = false;
          text = text.replace(/^ /, '');
        }
        return text;
      },
    };
  }

  /**
   * @param {Iterable<number>} tokens
   * @returns {string}
   */
  decode(tokens) {
    const decoder = this.decoder();
    let text = '';
    for (const token of tokens) text += decoder.push(token);
    return text;
  }
}

/** @param {string} char a character that has no piece of its own */
function bytePieces(char) {
  return [...new TextEncoder().encode(char)].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
}
