// @ts-check
// The forward pass of a small Llama (RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied head), one token
// at a time, in plain JavaScript. It reads its weights as `tensors({ …, as: 'float32' })` of the package yields them.

/**
 * @typedef {{ dim: number, layers: number, heads: number, kv_heads: number, ffn: number, vocab: number, eps: number }} Config
 *   `config.json` of the sample: width, blocks, query heads, key/value heads, inner width, tokens, epsilon of the norms.
 * @typedef {{ name: string, shape: number[], data: Float32Array | Uint8Array }} Piece
 *   Some rows of one tensor; the pieces of a tensor come in order.
 * @typedef {Record<'norm1' | 'q' | 'k' | 'v' | 'o' | 'norm2' | 'gate' | 'up' | 'down', Float32Array>} Block
 */

/** Names of a block's tensors, behind `model.layers.N.` and before `.weight`. */
const BLOCK = /** @type {const} */ ({
  norm1: 'input_layernorm',
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  norm2: 'post_attention_layernorm',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
});

/**
 * Collects whole tensors from pieces.
 * @param {AsyncIterable<Piece> | Iterable<Piece>} pieces float32 pieces, those of one tensor in order
 * @returns {Promise<Map<string, Float32Array>>} values by tensor name, row by row
 * @throws {Error} if a tensor is not complete
 */
export async function collect(pieces) {
  /** @type {Map<string, { values: Float32Array, filled: number }>} */
  const tensors = new Map();
  for await (const { name, shape, data } of pieces) {
    if (!(data instanceof Float32Array)) throw new Error(`Tensor ${name} did not come as float32.`);
    let tensor = tensors.get(name);
    if (!tensor)
      tensors.set(name, (tensor = { values: new Float32Array(shape.reduce((a, b) => a * b, 1)), filled: 0 }));
    tensor.values.set(data, tensor.filled);
    tensor.filled += data.length;
  }
  return new Map(
    [...tensors].map(([name, { values, filled }]) => {
      if (filled !== values.length) throw new Error(`Tensor ${name} has ${filled} of ${values.length} values.`);
      return [name, values];
    }),
  );
}

export class Llama {
  #config;
  #headDim;
  #embedding;
  #head;
  #norm;
  /** @type {Block[]} */
  #blocks = [];
  /** @type {{ keys: Float32Array[], values: Float32Array[] }[]} what each block has seen, position by position */
  #cache = [];
  #position = 0;

  /**
   * @param {Config} config
   * @param {Map<string, Float32Array>} weights by Hugging Face name
   * @throws {Error} if a tensor is missing or of another size than the configuration says
   */
  constructor(config, weights) {
    const { dim, layers, heads, kv_heads, ffn, vocab } = config;
    this.#config = config;
    this.#headDim = dim / heads;
    const kv = this.#headDim * kv_heads;
    /** @param {string} name @param {number} size */
    const take = (name, size) => {
      const values = weights.get(name);
      if (values?.length !== size)
        throw new Error(`Tensor ${name}: expected ${size} values, found ${values?.length ?? 'none'}.`);
      return values;
    };
    const sizes = {
      norm1: dim,
      q: dim * dim,
      k: kv * dim,
      v: kv * dim,
      o: dim * dim,
      norm2: dim,
      gate: ffn * dim,
      up: ffn * dim,
      down: dim * ffn,
    };
    this.#embedding = take('model.embed_tokens.weight', vocab * dim);
    this.#head = weights.has('lm_head.weight') ? take('lm_head.weight', vocab * dim) : this.#embedding;
    this.#norm = take('model.norm.weight', dim);
    for (let layer = 0; layer < layers; layer++) {
      const entries = Object.entries(BLOCK).map(([key, name]) => [
        key,
        take(`model.layers.${layer}.${name}.weight`, sizes[/** @type {keyof typeof BLOCK} */ (key)]),
      ]);
      this.#blocks.push(Object.fromEntries(entries));
    }
    this.reset();
  }

  /** Forgets the text so far. */
  reset() {
    this.#position = 0;
    this.#cache = this.#blocks.map(() => ({ keys: [], values: [] }));
  }

  /**
   * Reads one token.
   * @param {number} token
   * @returns {Float32Array} a score for each token that may follow
   */
  forward(token) {
    const { dim, vocab, eps } = this.#config;
    const x = this.#embedding.slice(token * dim, (token + 1) * dim);
    this.#blocks.forEach((block, layer) => {
      add(x, this.#attention(block, layer, rmsNorm(x, block.norm1, eps)));
      const h = rmsNorm(x, block.norm2, eps);
      const gate = multiply(block.gate, h);
      const up = multiply(block.up, h);
      add(
        x,
        multiply(
          block.down,
          gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]),
        ),
      );
    });
    this.#position++;
    return multiply(this.#head, rmsNorm(x, this.#norm, eps)).subarray(0, vocab);
  }

  /** @param {Block} block @param {number} layer @param {Float32Array} h */
  #attention(block, layer, h) {
    const { heads, kv_heads } = this.#config;
    const size = this.#headDim;
    const { keys, values } = this.#cache[layer];
    const q = this.#rotate(multiply(block.q, h));
    keys.push(this.#rotate(multiply(block.k, h)));
    values.push(multiply(block.v, h));
    const mixed = new Float32Array(heads * size);
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor((head * kv_heads) / heads) * size;
      const scores = keys.map((key) => {
        let sum = 0;
        for (let i = 0; i < size; i++) sum += q[head * size + i] * key[kv + i];
        return sum / Math.sqrt(size);
      });
      const weights = softmax(scores);
      weights.forEach((weight, position) => {
        for (let i = 0; i < size; i++) mixed[head * size + i] += weight * values[position][kv + i];
      });
    }
    return multiply(block.o, mixed);
  }

  /**
   * Turns each head by the position: value i with value i + half, as the Hugging Face layout has it. In place.
   * @param {Float32Array} x
   */
  #rotate(x) {
    const size = this.#headDim;
    const half = size / 2;
    for (let start = 0; start < x.length; start += size) {
      for (let i = 0; i < half; i++) {
        const angle = this.#position / 10000 ** ((2 * i) / size);
        const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
        const [a, b] = [x[start + i], x[start + half + i]];
        x[start + i] = a * cos - b * sin;
        x[start + half + i] = b * cos + a * sin;
      }
    }
    return x;
  }
}

/**
 * Scores to probabilities.
 * @param {ArrayLike<number>} scores
 * @param {number} [temperature] above 0; below 1 sharpens
 * @returns {number[]}
 */
export function softmax(scores, temperature = 1) {
  let max = -Infinity;
  for (let i = 0; i < scores.length; i++) max = Math.max(max, scores[i]);
  const exps = Array.from(scores, (score) => Math.exp((score - max) / temperature));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((e) => e / sum);
}

/** @param {Float32Array} x @param {Float32Array} y adds y to x */
function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

/** @param {Float32Array} x @param {Float32Array} weight @param {number} eps */
function rmsNorm(x, weight, eps) {
  let squares = 0;
  for (const value of x) squares += value * value;
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((value, i) => value * scale * weight[i]);
}

/**
 * Matrix times vector.
 * @param {Float32Array} matrix rows × columns, row by row
 * @param {Float32Array} x one value per column
 */
function multiply(matrix, x) {
  const cols = x.length;
  const out = new Float32Array(matrix.length / cols);
  for (let row = 0, at = 0; row < out.length; row++) {
    let sum = 0;
    for (let col = 0; col < cols; col++) sum += matrix[at++] * x[col];
    out[row] = sum;
  }
  return out;
}
