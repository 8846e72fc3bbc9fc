"""An independent decoder of `.wdelta` version 2, written from src/format/v2/README.md, whose sections it follows.
`Delta(bytes).decode(base)` gives the files of the fine-tune by path; `base` has ((dtype, shape), bytes) by name of tensor.
"""
import hashlib, io, json, math
from collections import defaultdict
from itertools import accumulate, cycle, islice
import blake3, numpy as np, xxhash

BITS = dict(BOOL=8, F4=4, F6_E2M3=6, F6_E3M2=6, U8=8, I8=8, F8_E5M2=8, F8_E4M3=8, F8_E8M0=8, F8_E4M3FNUZ=8, F8_E5M2FNUZ=8, I16=16,
            U16=16, F16=16, BF16=16, I32=32, U32=32, F32=32, C64=64, F64=64, I64=64, U64=64)  # in the order of their numbers
MANTISSA = dict(F16=10, BF16=7, F32=23, C64=23, F64=52, F8_E4M3=3, F8_E5M2=2, F8_E4M3FNUZ=3, F8_E5M2FNUZ=2)
UNIT = dict(F16=25, BF16=134, F32=150, C64=150)
ROOTS = np.uint32([0x3F800000, 0x3F8B95C2, 0x3F9837F0, 0x3FA5FED7, 0x3FB504F3, 0x3FC5672A, 0x3FD744FD, 0x3FEAC0C7]).view("<f4")
UNCHANGED, DELTA, STORED, TIED = range(4)

def need(truth, what):
    if not truth:
        raise ValueError(what)
def take(pieces, n):
    data = pieces.read(n)
    need(len(data) == n, "a part ends too early")
    return data
def varint(pieces):
    byte, = take(pieces, 1)
    return byte if byte < 128 else byte & 127 | varint(pieces) << 7
def clamp(x, low, high):
    return min(max(x, low), high)
def power(n):
    return np.ldexp(np.float32(1), n)

class Stream:
    """2. Adaptive coding. A model is made when it is first used, under the name that is given."""
    def __init__(self, data):
        self.data, self.at, self.low, self.high = data, 4, 0, 0xFFFFFFFF
        self.value = int.from_bytes((data + bytes(4))[:4], "big")
        self.bits, self.counters, self.last = (defaultdict(lambda x=x: x) for x in ((1 << 15, 1 << 15), (1 << 15, 0), 0))
    def coded(self, p):
        mid = self.low + ((self.high - self.low) * clamp(p, 32, 65504) >> 16)
        bit = int(self.value <= mid)
        self.low, self.high = (self.low, mid) if bit else (mid + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            need(self.at < len(self.data) + 4096, "a stream is too short")
            byte, self.at = (self.data[self.at:self.at + 1] or b"\0")[0], self.at + 1
            self.low, self.high, self.value = (x << 8 & 2**32 - 1 | y for x, y in ((self.low, 0), (self.high, 255), (self.value, byte)))
        return bit
    def bit(self, *name):
        quick, slow = self.bits[name]
        bit = self.coded(quick + slow >> 1)
        self.bits[name] = quick + (65535 * bit - quick >> 4), slow + (65535 * bit - slow >> 6)
        return bit
    def counter(self, *name, bit=None):
        p, n = self.counters[name]
        bit = self.coded(p) if bit is None else bit
        self.counters[name] = p + int((65535 * bit - p) * 2 / (2 * n + 3)), min(n + 1, 30)
        return bit
    def appended(self, length, top, beyond):
        m = int(length > 0)
        for depth in range(length - 1):
            m = 2 * m + (top("top", length, (m & (1 << depth) - 1) + depth) if depth < 2 else beyond(depth))
        return m
    def int(self, *name):
        s = 0
        while s < 16 and self.bit(name, "size", s):
            s += 1
        sign = -1 if s and self.bit(name, "sign", min(s, 3)) else 1
        return sign * self.appended(s, lambda *at: self.bit(name, *at), lambda _: self.bit(name, "low", s))
    def number(self, *name):
        l = 1
        for _ in range(7):
            l = 2 * l + self.counter(name, l)
        return self.appended(min(l - 128, 64), lambda *at: self.counter(name, *at), lambda _: self.coded(1 << 15))
    def flag(self, name):
        self.last[name] = self.bit(name, self.last[name])
        return self.last[name]
    def text(self):
        out = bytearray(6)
        for _ in range(self.number("length of a text")):
            partial = 1
            while partial < 256:
                slots = [(n, (int.from_bytes(out[-n:], "big") * 256 + partial) * 0x9E3779B97F4A7C15 >> 48 & 0xFFFF) for n in (6, 4, 2, 1)]
                bit = self.coded(self.counters[next((s for s in slots if self.counters[s][1]), slots[-1])][0])
                partial = 2 * partial + [self.counter(*slot, bit=bit) for slot in slots][0]
            out.append(partial & 255)
        return bytes(out[6:])
    def scales(self):
        scale = move = 0
        while True:
            move = self.int("step", min(abs(move), 2))
            yield (scale := clamp(scale + move, -8191, 8191))
def finished(s, pieces=None, rans=None):
    need((s is None or s.at >= len(s.data)) and not (pieces and pieces.read()), "a part is too long")
    need(rans is None or next(rans.words, None) is None and {*rans.states} == {65536}, "lanes do not end as they should")

class Index:
    """3. Index."""
    def __init__(self, data):
        pieces = io.BytesIO(data)
        self.s, self.recent = Stream(take(pieces, int.from_bytes(take(pieces, 8), "little"))), []
        self.metadata = self.several(self.pair)
        self.sets = self.several(lambda: self.s.number("params"))
        self.files = self.several(self.file)
        self.tensors = self.several(self.tensor)
        self.blocks = self.several(lambda: (self.s.number("length"), self.s.number("rows")))
        need(sum(f["tensors"] for f in self.files) == len(self.tensors), "the files do not have all tensors")
        for i, t in enumerate(self.tensors):
            t["base digest"] = take(pieces, 16 * (t["op"] < STORED))
            t["digest"] = take(pieces, 16) if t["op"] in (DELTA, STORED) else t["base digest"] or self.tensors[i - t["back"]]["digest"]
            t["lost"] = take(pieces, 8 * bool(t["dither"]))
        finished(self.s)
        self.digests = pieces.read()  # of the files
    def several(self, read):
        return [read() for _ in range(self.s.number("list"))]
    def pair(self):
        return self.s.text().decode(), self.s.text().decode()
    def kind(self):
        s, recent, k = self.s, self.recent, self.s.number("recent")
        if k == 0:
            dtype, rank = [*BITS][s.number("dtype")], s.number("rank")
            recent[:] = recent[-63:] + [(dtype, tuple(s.number("dim", min(i, 3)) for i in range(rank)))]
        recent.append(recent.pop(-k) if k else recent.pop())
        return recent[-1]
    def file(self):
        path, verbatim = self.s.text().decode(), self.s.flag("verbatim")
        front, metadata = (self.s.text(), []) if verbatim else (None, self.several(self.pair))
        return {"path": path, "front": front, "metadata": metadata, "tensors": self.s.number("head")}
    def tensor(self):
        s, t = self.s, {"name": self.s.text().decode(), "kind": self.kind(), "base": None, "set": None, "params": 0, "dither": None}
        t["op"] = s.flag("op0") and 1 + (s.flag("op1") and 1 + s.flag("op2"))
        t["back"] = s.number("back") if t["op"] == TIED else 0
        if t["op"] < STORED:
            name = self.s.text().decode() if s.flag("renamed") else t["name"]
            t["base"] = name, self.kind() if s.flag("retyped") else t["kind"]
        if t["op"] == DELTA:
            t["set"], t["params"] = s.number("set"), s.number("params")
            t["dither"] = t["kind"][0] in UNIT and s.flag("dithered") and (s.number("dither step"), s.number("seed"))
        return t
def header(metadata, tensors):
    entries, at = {"__metadata__": dict(metadata)} if metadata else {}, 0
    for t, result in tensors:
        entries[t["name"]] = {"dtype": t["kind"][0], "shape": t["kind"][1], "data_offsets": [at, at := at + len(result)]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    return (len(text) + 7 & -8).to_bytes(8, "little") + text + b" " * (-len(text) % 8)
def word_type(dtype):
    """4. Tensors as rows."""
    return np.dtype(f"<u{4 if dtype == 'C64' else max(BITS[dtype] // 8, 1)}")
def rows_of(t):
    """Words in a row, words of the common part, words in all."""
    (dtype, shape), columns, common = t["kind"], 1, 0
    total = math.prod(shape) * BITS[dtype] // 8 // word_type(dtype).itemsize
    dims = [total] if BITS[dtype] < 8 else [*shape, 2] if dtype == "C64" else [*shape]
    while dims and columns < 64:
        columns *= dims.pop()
    columns = 1024 if columns > 65536 or 1024 < columns == total else max(columns, 1)
    base, of = t["base"][1] if t["op"] == DELTA else (dtype, ())
    if t["op"] == DELTA and (base == dtype or not any(d == "C64" or d[0] == "F" and BITS[d] <= 8 for d in (dtype, base))):
        if math.prod(shape) == math.prod(of):
            common = total
        elif shape and of and shape[1:] == of[1:] and BITS[dtype] >= 8 and shape[0]:
            common = total // shape[0] * min(shape[0], of[0])
    return columns, common, total
def numpy_type(dtype):
    return {"BOOL": "?", "C64": "<f4"}.get(dtype) or f"<{dtype[0].lower()}{BITS[dtype] // 8}"
def floats(dtype, words):
    wide = words.astype("<u4")
    if dtype == "BF16":
        return (wide << 16).view("<f4")
    if dtype == "F16":
        nan = (wide & 0x8000) << 16 | 0x7F800000 | (wide & 0x3FF) << 13
        return np.where(wide & 0x7FFF > 0x7C00, nan, words.view("<f2").astype("<f4").view("<u4")).view("<f4")
    return words.view(numpy_type(dtype)).astype("<f4")
def rounded(dtype, values):
    bits, nan = values.view("<u4"), np.isnan(values)
    if dtype == "BF16":
        return (np.where(nan, bits | 0x400000, bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype("<u2")
    if dtype == "F16":
        return np.where(nan, bits >> 16 & 0x8000 | 0x7E00, values.astype("<f2").view("<u2")).astype("<u2")
    if dtype[0] in "IU":
        low, high = np.iinfo(numpy_type(dtype)).min, np.iinfo(numpy_type(dtype)).max
        values = [0 if v != v else low if v <= low else high if v >= high else int(v) for v in np.rint(values).tolist()]
    return np.array(values).astype(numpy_type(dtype)).view(word_type(dtype))

class Rans:
    """5. Tables: rANS."""
    def __init__(self, data):
        self.states, self.words = np.frombuffer(data[:64], "<u4").tolist(), iter(np.frombuffer(data[64:], "<u2").tolist())
    def row(self, tables, contexts):
        """The codes of one row. Symbol by symbol over lists is as fast here as 16 at a time in numpy."""
        symbol, freq, rest, log, mask = tables.symbol, tables.freq, tables.rest, tables.log, (1 << tables.log) - 1
        states, words, out = self.states, self.words, []
        for lane, context in zip(cycle(range(16)), contexts):
            slot = (context << log) + ((x := states[lane]) & mask)
            x = freq[slot] * (x >> log) + rest[slot]
            states[lane] = x if x >= 65536 else x << 16 | next(words, -1)
            out.append(symbol[slot])
        need(min(states) >= 0, "a block has too few words")
        return out

class Tables:
    """5. Tables: coded tables, laid out by slot."""
    def __init__(self, data, contexts, log):
        s, reach, f = Stream(data), 0, np.zeros((contexts, 256), np.int64)
        frequency = lambda n: s.appended(n, s.bit, lambda depth: s.bit("rest", min(depth, 15)))
        for table in f:
            reach, guess = clamp(reach + s.int("last"), 0, 127), log >> 1
            for m in range(1, reach + 1):
                table[m] = frequency(up := clamp(guess + s.int("size", 0, m > 32), 0, 12))
                table[256 - m] = frequency(down := clamp(up + s.int("size", 1, m > 32), 0, 12))
                guess = up + down >> 1
            table[128] = frequency(clamp(s.int("escape"), 0, 12))
            table[0] = (1 << log) - table.sum()
            need(table[0] >= 0, "a table has too many slots")
        finished(s)
        self.log, spread = log, lambda values: np.repeat(values.ravel(), f.ravel())
        self.symbol = spread(np.tile(np.r_[:128, -128:0], (contexts, 1))).tolist()
        self.freq = spread(f).tolist()
        self.rest = (np.tile(np.arange(1 << log), contexts) - spread(np.cumsum(f, axis=1) - f)).tolist()

class TableSet(Tables):
    """5. Tables: table sets."""
    def __init__(self, data):
        self.log, self.q, low, high, self.classes, self.phased, more = data[:7]
        self.offset, self.level_offset = (int.from_bytes(x, "little", signed=True) for x in ((low, high), data[7:9]))
        self.dithered, self.raw_factors = data[9] if more & 2 else 0, bool(more & 4)
        self.factors = self.classes + 2 * self.phased  # the first of them
        self.levels, self.form = self.factors + 14 * (more & 1), (None, "BF16", "F16", "nibbles")[more >> 3 & 3]
        need(9 <= self.log <= 11 and self.q <= 1 and more < 32 and more & 5 != 4, "a table set that is not known")
        super().__init__(data[10 if more & 2 else 7:], self.levels + 8 * self.dithered, self.log)
    def coded(self, dtype):
        """4. Coded words: their dtype, and how many there are for each word."""
        nibbles = self.form == "nibbles" and dtype not in MANTISSA
        return ("U16", 2 * word_type(dtype).itemsize) if nibbles else (self.form if dtype == "F32" and self.form in UNIT else dtype, 1)
    def words(self, dtype, of, words):
        coded, n = self.coded(dtype)
        words = rounded(to, floats(of, words)) if of != (to := dtype if n > 1 else coded) and len(words) else words
        return (np.ascontiguousarray(words).view("u1")[:, None] >> np.uint8([0, 4]) & 15).astype("<u2").ravel() if n > 1 else words
    def result(self, dtype, data):
        words = np.frombuffer(data, word_type((form := self.coded(dtype))[0]))
        return (words[::2] & 15 | words[1::2] << 4).astype("u1") if form[1] > 1 else floats(form[0], words) if form[0] != dtype else data

class Params:
    """6. Parameters, and the prediction of section 7."""
    def __init__(self, data, rows, columns, tables, dtype, dither):
        self.columns, self.scales, self.rank, self.dither, self.unit = columns, np.zeros(columns, int), 0, dither, UNIT.get(dtype)
        if not data:
            return
        pieces, rans = io.BytesIO(data), None
        s = Stream(take(pieces, varint(pieces)))
        self.scales = np.fromiter(islice(s.scales(), columns), int) if s.bit("has scales") else self.scales
        if s.bit("has factors"):
            self.rank, self.shift = clamp(s.int("rank"), 1, 64), clamp(s.int("shift"), -8191, 8191)
            self.raw_bits = clamp(s.int("raw_bits"), 0, 7) if tables.raw_factors else 0
            need(self.rank <= rows, "a rank higher than there are rows")
            self.gain = np.array([clamp(s.int("gain"), 0, 32767) for _ in range(self.rank)])
            self.left, right = ([tables.factors + clamp(s.int("class"), 0, 13) for _ in self.gain] for _ in range(2))
            self.octaves = accumulate(range(columns), lambda at, _: clamp(at + s.int("octave"), -60, 60), initial=0)
            self.octaves, raw = np.array([*self.octaves][1:]), take(pieces, columns * self.rank * self.raw_bits + 7 >> 3)
            self.right = self.factors((rans := Rans(pieces.read())).row(tables, right * columns), raw, 0).reshape(columns, self.rank)
        finished(s, pieces, rans)
    def factors(self, symbols, raw, at):
        bits = np.unpackbits(np.frombuffer(raw[at >> 3:at + len(symbols) * self.raw_bits + 7 >> 3], np.uint8), bitorder="little")[at & 7:]
        low = bits[:len(symbols) * self.raw_bits].reshape(len(symbols), self.raw_bits) @ (1 << np.arange(self.raw_bits))
        return (np.array(symbols) << self.raw_bits) + low - (1 << self.raw_bits >> 1)
    def predicted(self, dtype, base, o, left):
        """What the words of a row move to, their variants, and which of them are flipped."""
        total = self.right[:len(base)] @ np.clip(left * self.gain + (1 << self.raw_bits >> 1) >> self.raw_bits, -32767, 32767)
        by = total.astype("<i4").astype("<f4") * power(clamp(o - self.shift, -60, 60)) * power(self.octaves[:len(base)])
        fixed, total = exponents(dtype, base) == exponents(dtype, ~np.zeros_like(base)), floats(dtype, base) + by
        if dtype == "BF16":
            moved = ((s := total.view("<u4")) + np.uint32(1 << 15) >> 16).astype("<u2")
            rest = (s - (moved.astype("<u4") << 16)).view("<i4").astype(int)
            flipped, large = (rest != 0) & ((rest < 0) != (s >> 31 == 1)), abs(rest) >= 1 << 14
        elif dtype == "F16":
            rest = total - floats(dtype, moved := rounded(dtype, total))
            flipped, large = rest < 0, abs(rest) >= power(exponents(dtype, moved) - 27)
        else:
            return np.where(fixed, base, total.view("<u4")), 0, False
        return np.where(fixed, base, moved), np.where(fixed, 1, 1 + large), flipped & ~fixed
    def levels(self, row, n):
        """8. Dithered tensors: the levels of a row, with 8 added where they are flipped."""
        first, end = (-(-self.columns // 16) * r + 1 for r in (row, row + 1))
        x = np.uint64(self.dither[1]) + np.arange(first, end, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            x = (x ^ x >> np.uint64(shift)) * np.uint64(factor)
        return (x[:, None] >> np.arange(0, 64, 4, dtype=np.uint64)).astype(int).ravel()[:n] & 15
def exponents(dtype, words):
    field = (1 << words.dtype.itemsize * 8 - 1 - MANTISSA.get(dtype, 0)) - 1
    return np.maximum((words >> MANTISSA[dtype]).astype(int) & field, 1) if dtype in MANTISSA else np.ones(len(words), int)
def key(dtype, words):  # and unkey
    top = words.dtype.type(1 << words.dtype.itemsize * 8 - 1)
    return np.where(words & top, ~words ^ top, words) if dtype in MANTISSA else words
def planes(data, width, count):
    """7. Blocks: kind 2."""
    tables, rans = Tables(take(pieces := io.BytesIO(data), varint(pieces)), width, 11), Rans(pieces.read())
    codes = rans.row(tables, islice(cycle(range(width)), count))
    finished(None, pieces, rans)
    return np.array(codes, np.int8).tobytes()
def coded(data, tables, rows):
    """7. Blocks: kind 0; each row is (dtype, its words of the base, its number, parameters of its tensor)."""
    pieces, changed, at, out = io.BytesIO(data), 0, 0, []
    side, words, raw = (varint(pieces) for _ in range(3))
    s, rans, raw = Stream(take(pieces, side)), Rans(take(pieces, 64 + 2 * words)), take(pieces, raw)
    scales = s.scales()
    for dtype, base, number, params in rows:
        out.append(base)
        if not (changed := s.bit("changed", changed)):
            continue
        scale, start, variant, flipped, columns = next(scales), base, 0, False, params.scales[:len(base)]
        if params.rank:
            o = clamp((scale >> tables.q) - params.unit, -60, 60) + clamp(s.int("octave"), -8191, 8191)
            left, at = params.factors(rans.row(tables, params.left), raw, at), at + params.rank * params.raw_bits
            start, variant, flipped = params.predicted(dtype, base, o, left)
        e, dithered = exponents(dtype, start), np.zeros(len(base), bool)
        c = np.clip(scale + columns - (e << tables.q) + tables.offset, 0, tables.classes - 1)
        contexts = np.where((variant == 0) | (c >= tables.phased), c, tables.classes + 2 * c + variant - 1)
        if params.dither:
            step, levels = (scale << 3 - tables.q) + params.dither[0] - 128, params.levels(number, len(base))
            dithered = (e < exponents(dtype, ~np.zeros_like(base))) & (8 * e < step)
            c = np.clip(columns - (params.dither[0] - 128 >> 3 - tables.q) + tables.level_offset, 0, tables.dithered - 1)
            contexts = np.where(dithered, tables.levels + 8 * c + (levels & 7), contexts)
        codes = np.array(rans.row(tables, contexts.tolist()), np.int64)
        difference, given, width = codes.astype(np.uint64), abs(codes) > 126, base.dtype.itemsize * 8
        for i in np.flatnonzero(abs(codes) > 32).tolist():
            m, sign = abs(int(codes[i])), 1 if codes[i] > 0 else -1
            n = {127: 0, 128: width}.get(m, (m - 33 >> 1) + 4)
            value = int.from_bytes(raw[at >> 3:(at >> 3) + 9], "little") >> (at & 7) & (1 << n) - 1
            difference[i] = (value if m > 126 else sign * (value + (2 + (m - 33 & 1) << n) + 1)) & (1 << 64) - 1
            at += n
        out[-1] = key(dtype, key(dtype, start) + np.where(flipped, -difference, difference).astype(base.dtype))
        if dithered.any():
            n = 32 * difference.astype("<u2").view("<i2").astype(int) - 2 * (levels & 7) - 1
            unit = ROOTS[step % 8] * power(clamp((step >> 3) - 5 - params.unit, -126, 127))
            lossy = rounded(dtype, floats(dtype, start) + np.where(levels > 7, -n, n).astype("<f4") * unit)
            out[-1] = np.where(dithered, np.where(given, difference.astype(base.dtype), lossy), out[-1])
        out[-1] = np.where(abs(codes) == 127, (codes < 0).astype(base.dtype) << width - 1, out[-1])
    finished(s, pieces, rans)
    need(at + 7 >> 3 == len(raw), "raw bits are left over or missing")
    return [row.tobytes() for row in out]

class Delta:
    """1. The file."""
    def __init__(self, data):
        need(len(data) >= 68 and data[:12] == b"wdelta\0\2\0\0\0\0", "not a .wdelta file of version 2")
        need(hashlib.sha256(data[:-32]).digest() == data[-32:], "the checksum differs")
        at, length, check = np.frombuffer(data[-56:-32], "<u8").tolist()
        need(at + length == len(data) - 56 and xxhash.xxh3_64_intdigest(data[at:-56]) == check, "the index is damaged")
        self.index, pieces = Index(data[at:-56]), io.BytesIO(data[12:at])
        def part(n):
            part = take(pieces, n)
            need(9 <= n <= 32 << 20 and xxhash.xxh3_64_digest(part[:-8]) == part[:-9:-1], "a part is damaged")
            return part[:-8]
        self.sets = [TableSet(part(n)) for n in self.index.sets]
        self.params = [part(t["params"]) if t["params"] else b"" for t in self.index.tensors]
        self.parts = [(part(n), rows) for n, rows in self.index.blocks]
        need(not pieces.read(), "the parts do not fill the file")
    def rows(self, base):
        """All rows: number of the tensor, how many words, what `coded` takes of a common row."""
        for i, t in enumerate(self.index.tensors):
            (columns, common, total), dtype = rows_of(t), t["kind"][0]
            if t["op"] == DELTA:
                ((of, _), data), tables = base[t["base"][0]], self.sets[t["set"]]
                (coded, n), words = tables.coded(dtype), tables.words(dtype, of, np.frombuffer(data, word_type(of))[:common])
                parts = next(p for p in (1, 2, 4, 8, 16) if columns * n // p <= 65536)
                params = Params(self.params[i], -(-total // columns), (wide := columns * n // parts), tables, coded, t["dither"])
                for row in range(-(-common // columns)):
                    here = words[row * columns * n:(row + 1) * columns * n]
                    yield i, len(here) // n, [(coded, here[at:at + wide], row, params) for at in range(0, len(here), wide)]
            for at in range(common, total if t["op"] in (DELTA, STORED) else 0, columns):
                yield i, min(columns, total - at), None
    @np.errstate(all="ignore")
    def decode(self, base):
        tensors, results, files, digests = self.index.tensors, [], {}, b""
        digest = lambda data: blake3.blake3(data).digest()[:16]
        for t in tensors:
            name, kind = t["base"] or (None, None)
            of, data = base.get(name, (None, b""))
            need(not name or (of, digest(data)) == (kind, t["base digest"]), f"another base: its tensor {name!r} differs")
            results.append([data] if t["op"] == UNCHANGED else results[-t["back"]] if t["back"] else [])
        rows = self.rows(base)
        for part, count in self.parts:
            self.block(part, [*islice(rows, count)], results)
        need(next(rows, None) is None, "rows without a block")
        listed = [(t, b"".join(r)) for t, r in zip(tensors, results)]
        for t, result in listed:
            need(digest(result) == t["digest"], f"{t['name']}: wrong digest")
        for f in self.index.files:
            here, listed, path = listed[:f["tensors"]], listed[f["tensors"]:], f["path"].encode()
            front = header(f["metadata"], here) if f["front"] is None else f["front"]
            digests += digest(len(path).to_bytes(8, "little") + path + digest(front) + b"".join(t["digest"] for t, _ in here))
            files[f["path"]] = front + b"".join(r for _, r in here)
        need(self.index.digests in (b"", digests), "a file has another digest")
        return files
    def block(self, part, rows, results):
        word, tables = word_type((t := self.index.tensors[rows[0][0]])["kind"][0]).itemsize, self.sets[t["set"]] if part[0] == 0 else None
        done = iter(coded(part[1:], tables, [r for *_, row in rows for r in row])) if tables else None
        own = lambda i, row: bytes(tables.result(self.index.tensors[i]["kind"][0], b"".join(islice(done, len(row)))))
        pieces = io.BytesIO(b"".join(own(i, row) for i, _, row in rows) if tables else
                            part[1:] if part[0] == 1 else planes(part[1:], word, sum(n for _, n, _ in rows) * word))
        for i, n, _ in rows:
            results[i].append(take(pieces, n * word))
        finished(None, pieces)
