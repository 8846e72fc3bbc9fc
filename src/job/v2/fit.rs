//! The fit task: the scales and the prediction of a tensor and its counts, of a part of it, and whether it changed at all.

use super::past::Past;
use super::reader::Reader;
use super::{as_narrow, digest, in_dtype, part, width_of_base};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::format::v2::placed::Geometry;
use crate::format::v2::BLOCK_BYTES;
use crate::job::buffers;
use crate::job::chunks::Chunks;
use crate::job::machine::{Io, Read};
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::wire::{wire, wire_enum};
use crate::kernels::v2::element::Layout;
use crate::offset::ByteRange;
use crate::strategy::lossless::factors::Factors;
use crate::strategy::lossless::fit::{fit, Counts, Effort, Sample};
use crate::strategy::lossless::stored;
use crate::strategy::lossless::wire::checksum;
use crate::strategy::lossy::fit::choose_way;
use crate::strategy::lossy::importance::relative_change;

/// Bytes of a piece of a tensor that is not read as a whole.
const PIECE_BYTES: u64 = 64 << 10;

/// The same where a prediction is tried: rows side by side say less about the rest than rows from everywhere.
const SMALL_PIECE_BYTES: u64 = 4 << 10;

/// Bytes of each side that a probe looks at, about.
const PROBE_BYTES: u64 = 1 << 20;

/// Bytes in the middle of a tensor that tell it from others.
const MARK_BYTES: u64 = 16 << 10;

/// Words of the rows that a piece of about `bytes` bytes has.
fn piece_words(bytes: u64, columns: u64, width: u64) -> u64 {
    (bytes / (columns * width)).max(1) * columns
}

/// Words that a block has of a tensor that has blocks of its own.
pub fn block_words(columns: u64, width: u64) -> u64 {
    piece_words(BLOCK_BYTES, columns, width)
}

/// What a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What is found will be coded.
    Code,
    /// An estimate of the size, from a part of each large tensor: no digests and no prediction.
    Estimate,
    /// How far tensors moved, from as much.
    Weigh,
    /// Digests of all bytes of the fine-tune.
    Hash,
}
wire_enum!(Purpose {
    0: Code {},
    1: Estimate {},
    2: Weigh {},
    3: Hash {}
});

/// How tensors are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Level of effort, 0 to 3.
    pub effort: u32,
    /// Whether predictions are tried.
    pub low_rank: bool,
    /// Number of the step that they are dithered with if that pays; none to lose nothing.
    pub step: Option<u8>,
    /// What it is for: whether a part of each tensor is enough, and what has to be found.
    pub purpose: Purpose,
}
wire!(Look {
    effort,
    low_rank,
    step,
    purpose
});

impl Look {
    /// Whether a part is enough.
    fn probes(self) -> bool {
        matches!(self.purpose, Purpose::Estimate | Purpose::Weigh)
    }

    fn effort(self) -> Effort {
        match self.probes() {
            true => Effort::level(self.effort.max(1), false),
            false => Effort::level(self.effort, self.low_rank),
        }
    }

    /// Of how many pieces of a tensor one is read.
    pub fn stride(self, of: &Geometry) -> u64 {
        match self.probes() {
            true => (of.common * of.layout.bytes() as u64).div_ceil(PROBE_BYTES),
            false => self.effort().stride(of.columns, of.common),
        }
        .max(1)
    }
}

/// Tensors to be fitted.
#[derive(Debug)]
pub struct Fit {
    /// The models that the delta is made against.
    pub past: Past,
    /// How they are looked at.
    pub look: Look,
    /// The tensors, whose [`Fitted`] are reported in this order.
    pub items: Vec<FitItem>,
}
wire!(Fit { past, look, items });

/// A tensor to be fitted.
#[derive(Debug, Clone)]
pub struct FitItem {
    /// The fine-tune's tensor.
    pub fine: TensorRange,
    /// Number of the base's tensor in the last model of the past, if it has some.
    pub base: Option<u32>,
    /// Words per row.
    pub columns: u64,
    /// Words that fine-tune and base both have, from the first on.
    pub common: u64,
    /// Of how many pieces of rows one is read.
    pub stride: u64,
    /// By how many steps it is dithered more finely than the look says.
    pub finer: u8,
}
wire!(FitItem {
    fine,
    base,
    columns,
    common,
    stride,
    finer
});

/// Counts that are not 0: context, symbol, count.
pub type Sparse = Vec<(u16, u8, u32)>;

/// What fitting a tensor found.
#[derive(Debug)]
pub struct Fitted {
    /// Digest of the bytes in the middle of the fine-tune's tensor: where it differs, so do the tensors.
    pub mark: Digest,
    /// Digest of all its bytes, if all of them were read.
    pub whole: Option<Digest>,
    /// What those in the middle take without a base, for each byte.
    pub alone: f64,
    /// How far it moved, relative to its weights; only a look at a part says it, and only without a step.
    pub change: f64,
    /// Whether the common words are the same.
    pub equal: bool,
    /// The dtype in which it is coded: its own, or for F32 another one whose values it has.
    pub coded: Dtype,
    /// What levels of its dither are made from: another one for another fine-tune.
    pub seed: u64,
    /// How it is coded without any loss.
    pub exact: Coding,
    /// How it is coded with the loss that was asked for, where that pays.
    pub lossy: Option<Coding>,
}
wire!(Fitted {
    mark,
    whole,
    alone,
    change,
    equal,
    coded,
    seed,
    exact,
    lossy
});

impl Fitted {
    /// The way that is thought to be shortest.
    pub fn best(&self) -> &Coding {
        self.lossy.as_ref().unwrap_or(&self.exact)
    }
}

/// A way to code a tensor.
#[derive(Debug, Default)]
pub struct Coding {
    /// For each column, its scale as parameters have it: see `strategy::lossless::params`.
    pub columns: Vec<i16>,
    /// The low-rank prediction of the delta, where one pays.
    pub factors: Option<Factors>,
    /// Counts of the symbols that weights become, by context, for all rows of the tensor.
    pub counts: Sparse,
    /// Counts of factors by class.
    pub factor_counts: Sparse,
    /// Number of its step, if it is dithered.
    pub step: Option<u8>,
    /// Counts of the symbols of dithered weights, by context, for all rows of the tensor.
    pub dither_counts: Sparse,
}
wire!(Coding {
    columns,
    factors,
    counts,
    factor_counts,
    step,
    dither_counts
});

/// Runs the fit task; reports a list of [`Fitted`].
pub async fn fit_tensors(io: Io, work: Fit) -> Result<Vec<u8>> {
    let mut reader = Reader::new(work.past);
    let mut fitted = Vec::with_capacity(work.items.len());
    for item in &work.items {
        fitted.push(fit_tensor(&io, work.look, item, &mut reader).await?);
    }
    to_wire(&fitted)
}

async fn fit_tensor(io: &Io, look: Look, item: &FitItem, reader: &mut Reader) -> Result<Fitted> {
    let mut found = Fitted {
        mark: [0; 16],
        whole: None,
        alone: 1.0,
        change: 0.0,
        equal: true,
        coded: item.fine.dtype,
        seed: 0,
        exact: Coding::default(),
        lossy: None,
    };
    mark(io, look, &item.fine, &mut found).await?;
    let Some(base) = item.base else {
        return Ok(found);
    };
    if item.fine.dtype == Dtype::F32 {
        found.coded = narrow(io, look, &item.fine).await?;
    }
    let sample = sample(io, look, item, base, reader, &mut found).await?;
    // Rows that differ may do so by what rounding the base leaves out.
    if found.equal || sample.is_empty() {
        found.exact.columns = vec![0; item.columns as usize];
        return Ok(found);
    }
    if look.probes() && look.step.is_none() {
        found.change = relative_change(&sample);
    }
    if look.purpose == Purpose::Weigh {
        return Ok(found);
    }
    let (effort, stride) = (look.effort(), item.stride);
    let fit = fit(&sample, effort);
    let step = look.step.map(|step| step - item.finer);
    let lossy = step.and_then(|step| choose_way(&sample, effort, step, stride, &fit));
    found.lossy = lossy.map(|way| Coding {
        columns: way.columns,
        factors: way.factors,
        counts: sparse(&way.exact, stride as u32),
        factor_counts: sparse(&way.factor_counts, 1),
        step: Some(way.step),
        dither_counts: sparse(&way.dithered, stride as u32),
    });
    found.exact = Coding {
        columns: fit.columns,
        factors: fit.factors,
        counts: sparse(&fit.counts, stride as u32),
        factor_counts: sparse(&fit.factor_counts, 1),
        ..Coding::default()
    };
    Ok(found)
}

/// Hashes what tells a tensor from others, or all of it.
async fn mark(io: &Io, look: Look, fine: &TensorRange, found: &mut Fitted) -> Result<()> {
    let ByteRange { offset, len } = fine.range;
    let n = match look.purpose {
        Purpose::Hash => len,
        _ => len.min(MARK_BYTES),
    };
    let mut chunks = Chunks::new(fine.source, ByteRange::new(offset + (len - n) / 2, n)?);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    while chunks.next(io, &mut bytes).await? {
        hasher.update(&bytes);
        // Only a ratio needs it. A look that codes with a step may be for a quality as well: it is not told which.
        if look.purpose == Purpose::Estimate || (look.purpose == Purpose::Code && look.step.is_some()) {
            let width = Layout::of(fine.dtype).bytes();
            found.alone = stored::encode(&bytes, width).len() as f64 / bytes.len() as f64;
        }
    }
    found.mark = digest(&hasher);
    found.whole = (n == len).then_some(found.mark);
    Ok(())
}

/// BF16 or F16 if all values of a tensor of F32 are of that dtype, as after training in it; else F32.
async fn narrow(io: &Io, look: Look, fine: &TensorRange) -> Result<Dtype> {
    let ByteRange { offset, len } = fine.range;
    let n = len.min(MARK_BYTES) / 4 * 4;
    let mut bytes = io.read_vec(fine.source, offset + (len - n) / 8 * 4, n as usize).await?;
    // Few bytes from the middle tell most tensors that have no such values.
    for dtype in [Dtype::BF16, Dtype::F16] {
        let mut all = as_narrow(&bytes, dtype).is_some();
        let mut chunks = Chunks::new(fine.source, fine.range);
        while all && !look.probes() && chunks.next(io, &mut bytes).await? {
            all = as_narrow(&bytes, dtype).is_some();
        }
        if all {
            return Ok(dtype);
        }
    }
    Ok(Dtype::F32)
}

/// The rows that a tensor is fitted on. Where none of them differs, all are compared, up to the first that does.
async fn sample(
    io: &Io,
    look: Look,
    item: &FitItem,
    base: u32,
    reader: &mut Reader,
    found: &mut Fitted,
) -> Result<Sample> {
    let (to, coded) = (item.fine.dtype, found.coded);
    let width = Layout::of(to).bytes() as u64;
    let (from, _) = reader.shape_of(reader.top(), base);
    let base_width = width_of_base(from, to);
    let mut stride = item.stride;
    let piece = match (stride, look.effort().low_rank) {
        (1, _) => BLOCK_BYTES,
        (_, true) => SMALL_PIECE_BYTES,
        (_, false) => PIECE_BYTES,
    };
    let mut step = piece_words(piece, item.columns, width);
    let mut rows = Sample::new(Layout::of(coded), item.columns as usize);
    let mut hasher = blake3::Hasher::new();
    // Words from the first on that are known to be the same, and are hashed.
    let mut same = 0;
    let mut at = 0;
    let mut all = false;
    let mut b = buffers::take((step.min(item.common) * width) as usize);
    let (mut scratch, mut after) = (Vec::new(), Vec::new());
    loop {
        if at >= item.common {
            if !found.equal || same == item.common || look.probes() {
                break;
            }
            (at, step, stride, all) = (same, block_words(item.columns, width), 1, true);
        }
        let n = step.min(item.common - at);
        let (offset, fine_len) = part(&item.fine, at, n, width);
        b.resize(fine_len, 0);
        let mut fine = Read {
            source: item.fine.source,
            offset,
            buf: &mut b,
        };
        let len = (n * base_width) as usize;
        let a = reader.read_with(io, base, at * base_width, len, &mut fine).await?;
        let before = in_dtype(from, to, &a, &mut scratch);
        if before != b {
            found.equal = false;
            if look.step.is_some() {
                found.seed = found.seed.rotate_left(1) ^ checksum(&b);
            }
            let after = in_dtype(to, coded, &b, &mut after);
            rows.add(in_dtype(from, coded, &a, &mut scratch), after);
        } else if at == same {
            hasher.update(&b);
            same += n;
        }
        buffers::give(a);
        if all && !found.equal {
            break;
        }
        at += step * stride;
    }
    buffers::give(b);
    if found.equal && same * width == item.fine.range.len {
        found.whole = Some(digest(&hasher));
    }
    Ok(rows)
}

/// The counts that are not 0, each for `stride` rows.
fn sparse(counts: &Counts, stride: u32) -> Sparse {
    let mut list = Vec::new();
    for (table, context) in counts.iter().zip(0..) {
        for (&c, symbol) in table.iter().zip(0..=255) {
            if c > 0 {
                list.push((context, symbol, c.saturating_mul(stride)));
            }
        }
    }
    list
}
