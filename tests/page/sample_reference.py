"""Greedy texts of the sample models, computed apart from www/js/sample: numpy in float64, whole prefix each time.

  python tests/page/sample_reference.py FOLDER > tests/page/sample_expected.json

FOLDER holds base.safetensors, ft-sft.safetensors, ft-step2.safetensors, config.json and tokenizer.json (stories260k).
Needs numpy only; safetensors headers and bf16 are read by hand.
"""
import json, pathlib, sys
import numpy as np

folder = pathlib.Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
bpe = json.loads((folder / "tokenizer.json").read_text())["model"]
vocab, merges = bpe["vocab"], {tuple(m): r for r, m in enumerate(bpe["merges"])}
pieces = {i: p for p, i in vocab.items()}


def load(path):
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header, out = json.loads(raw[8:8 + n]), {}
    for name, t in header.items():
        if name != "__metadata__":
            a, b = (8 + n + o for o in t["data_offsets"])
            bits = np.frombuffer(raw[a:b], "<u2").astype("<u4") << 16
            out[name] = bits.view("<f4").astype(np.float64).reshape(t["shape"])
    return out


def encode(text):
    word = list("\u2581" + text.replace(" ", "\u2581"))
    while pairs := [(merges[p], i) for i, p in enumerate(zip(word, word[1:])) if p in merges]:
        i = min(pairs)[1]
        word[i:i + 2] = [word[i] + word[i + 1]]
    return [vocab[p] for p in word]


def decode(ids):
    out = b""
    for piece in (pieces[i] for i in ids):
        out += bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("\u2581", " ").encode()
    return out.decode()


def norm(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["eps"]) * w


def logits(p, ids):
    t, heads, kv = len(ids), config["heads"], config["kv_heads"]
    d = config["dim"] // heads
    angle = np.arange(t)[:, None] / 10000 ** (np.arange(0, d, 2) / d)[None]
    cos, sin = (np.concatenate([f(angle)] * 2, -1) for f in (np.cos, np.sin))
    rope = lambda x: x * cos + np.concatenate([-x[..., d // 2:], x[..., :d // 2]], -1) * sin
    x = p["model.embed_tokens.weight"][ids]
    for i in range(config["layers"]):
        w = lambda n: p[f"model.layers.{i}.{n}.weight"]
        h = norm(x, w("input_layernorm"))
        q, k, v = ((h @ w(f"self_attn.{n}_proj").T).reshape(t, -1, d).swapaxes(0, 1) for n in "qkv")
        k, v = (np.repeat(a, heads // kv, 0) for a in (rope(k), v))
        s = rope(q) @ k.swapaxes(1, 2) / np.sqrt(d) + np.triu(np.full((t, t), -np.inf), 1)
        s = np.exp(s - s.max(-1, keepdims=True))
        x = x + ((s / s.sum(-1, keepdims=True)) @ v).swapaxes(0, 1).reshape(t, -1) @ w("self_attn.o_proj").T
        h = norm(x, w("post_attention_layernorm"))
        g = h @ w("mlp.gate_proj").T
        x = x + (g / (1 + np.exp(-g)) * (h @ w("mlp.up_proj").T)) @ w("mlp.down_proj").T
    return norm(x[-1], p["model.norm.weight"]) @ p["model.embed_tokens.weight"].T


cases = []
for model in ("base", "ft-sft", "ft-step2"):
    weights = load(folder / f"{model}.safetensors")
    for prompt in ("Once upon a time", "Return the"):
        ids = [1, *encode(prompt)]
        given = len(ids)
        for _ in range(64):
            ids.append(int(logits(weights, np.array(ids)).argmax()))
        cases.append({"model": model, "prompt": prompt, "tokens": 64, "text": decode(ids[given:])})
print(json.dumps(cases, indent=2))
