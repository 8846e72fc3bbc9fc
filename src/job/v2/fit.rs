//! The fit task: digests of both sides, the scales and the prediction of a tensor, and its counts.

use super::past::Past;
use super::reader::Reader;
use super::{digest, in_dtype, part};
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::format::v2::BLOCK_BYTES;
use crate::job::buffers;
use crate::job::machine::{Io, Read};
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::wire::wire;
use crate::kernels::v2::element::Layout;
use crate::limits::CHUNK_BYTES;
use crate::strategy::lossless::fit::{fit, Counts, Effort, Sample};
use crate::strategy::lossless::low_rank::Factors;
use crate::strategy::lossy::fit::choose;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a piece of a probe.
const PROBE_PIECE: u64 = 64 << 10;

/// Bytes of each side that a probe looks at, about.
const PROBE_BYTES: u64 = 1 << 20;

/// Words that a block has of a tensor that has blocks of its own, and that are read at once.
pub fn block_words(columns: u64, width: u64) -> u64 {
    (BLOCK_BYTES / (columns * width)).max(1) * columns
}

/// Tensors to be fitted.
#[derive(Debug)]
pub struct Fit {
    /// The models before.
    pub past: Past,
    /// The tensors.
    pub items: Vec<FitItem>,
}
wire!(Fit { past, items });

/// A tensor to be fitted.
#[derive(Debug, Clone)]
pub struct FitItem {
    /// Its name.
    pub name: String,
    /// The fine-tune's bytes.
    pub fine: TensorRange,
    /// Number of the base's tensor in the last model of the past, if it has some.
    pub base: Option<u32>,
    /// Words per row.
    pub columns: u64,
    /// Words that both have.
    pub common: u64,
    /// Level of effort.
    pub effort: u32,
    /// Whether a prediction is tried.
    pub low_rank: bool,
    /// Number of the step that it is dithered with if that pays; none to lose nothing.
    pub step: Option<u8>,
    /// Only looks at parts of it, for an estimate: no digests, no prediction.
    pub probe: bool,
}
wire!(FitItem {
    name,
    fine,
    base,
    columns,
    common,
    effort,
    low_rank,
    step,
    probe
});

/// Counts that are not 0: context, symbol, count.
pub type Sparse = Vec<(u16, u8, u32)>;

/// What fitting a tensor found.
#[derive(Debug)]
pub struct Fitted {
    /// Digest of the base's bytes.
    pub base: Digest,
    /// Digest of the fine-tune's.
    pub digest: Digest,
    /// Whether the common words are the same.
    pub equal: bool,
    /// Fast hashes of the fine-tune's bytes and of the base's, for each block of the common words and then of the others,
    /// so that a change until they are encoded is noticed.
    pub seen: Vec<(u64, u64)>,
    /// How it is coded without any loss.
    pub exact: Coding,
    /// How it is coded with the loss that was asked for, where that pays.
    pub lossy: Option<Coding>,
}
wire!(Fitted {
    base,
    digest,
    equal,
    seen,
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
    /// Scales of the columns.
    pub columns: Vec<i16>,
    /// The prediction.
    pub factors: Option<Factors>,
    /// Counts of symbols by context.
    pub counts: Sparse,
    /// Counts of factors by class.
    pub factor_counts: Sparse,
    /// Number of its step, if it is dithered.
    pub step: Option<u8>,
    /// Counts of dithered weights.
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
        fitted.push(fit_tensor(&io, item, &mut reader).await?);
    }
    to_wire(&fitted)
}

async fn fit_tensor(io: &Io, item: &FitItem, reader: &mut Reader) -> Result<Fitted> {
    let layout = Layout::of(item.fine.dtype);
    let width = layout.bytes() as u64;
    let (mut of_base, mut of_fine) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut found = Fitted {
        base: [0; 16],
        digest: [0; 16],
        equal: true,
        seen: Vec::new(),
        exact: Coding::default(),
        lossy: None,
    };
    let mut done = 0;
    let words = item.fine.range.len / width;
    let step = match item.probe {
        true => (PROBE_PIECE / (item.columns * width)).max(1) * item.columns,
        false => block_words(item.columns, width),
    };
    let mut b = buffers::take((step.min(words) * width) as usize);
    if let Some(base) = item.base {
        let (dtype, base_bytes) = reader.shape_of(reader.top(), base);
        let base_width = match dtype == item.fine.dtype {
            true => width,
            false => dtype.bytes().unwrap_or(1) as u64,
        };
        // A probe takes one piece in so many, the rest one row in so many.
        let effort = Effort::level(item.effort, item.low_rank && !item.probe);
        let stride = match item.probe {
            true => (item.common * width).div_ceil(PROBE_BYTES),
            false => effort.stride(item.columns, item.common),
        }
        .max(1);
        let of_rows = if item.probe { 1 } else { stride };
        let mut sample = Sample::with_stride(layout, item.columns as usize, of_rows as usize);
        let mut scratch = Vec::new();
        while done < item.common {
            let n = step.min(item.common - done);
            if item.probe && done / step % stride != 0 {
                done += n;
                continue;
            }
            let (offset, fine_len) = part(&item.fine, done, n, width);
            b.resize(fine_len, 0);
            let mut fine = Read {
                source: item.fine.source,
                offset,
                buf: &mut b,
            };
            let (at, len) = (done * base_width, (n * base_width) as usize);
            let a = reader.read_with(io, base, at, len, &mut fine).await?;
            if !item.probe {
                of_base.update(&a);
                of_fine.update(&b);
                found.seen.push((xxh3_64(&b), xxh3_64(&a)));
            }
            let from = in_dtype(dtype, item.fine.dtype, &a, &mut scratch);
            if from == b {
                sample.skip(b.len());
            } else {
                found.equal = false;
                sample.add(from, &b);
            }
            buffers::give(a);
            done += n;
        }
        let mut at = done * base_width;
        while at < base_bytes && !item.probe {
            let n = (base_bytes - at).min(CHUNK_BYTES as u64);
            let bytes = reader.read(io, reader.top(), base, at, n as usize).await?;
            of_base.update(&bytes);
            buffers::give(bytes);
            at += n;
        }
        if !found.equal {
            let fit = fit(&sample, effort);
            let lossy = item.step.and_then(|step| choose(&sample, effort, step, stride, &fit));
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
        } else {
            found.exact.columns = vec![0; item.columns as usize];
        }
    }
    while done < words && !item.probe {
        let n = step.min(words - done);
        let (offset, len) = part(&item.fine, done, n, width);
        b.resize(len, 0);
        io.read(&mut [Read {
            source: item.fine.source,
            offset,
            buf: &mut b,
        }])
        .await?;
        of_fine.update(&b);
        found.seen.push((xxh3_64(&b), 0));
        done += n;
    }
    buffers::give(b);
    found.base = digest(&of_base);
    found.digest = digest(&of_fine);
    Ok(found)
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
