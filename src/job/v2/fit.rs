//! The fit task: digests of both sides, the scales and the prediction of a tensor, and its counts.

use super::{digest, hash_rest, in_dtype, part};
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::job::machine::{Io, Read};
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::wire::wire;
use crate::kernels::v2::element::Layout;
use crate::strategy::lossless::fit::{fit, Counts, Effort, Sample};
use crate::strategy::lossless::low_rank::Factors;

/// Bytes of each side that are kept to fit on.
const SAMPLE_BYTES: u64 = 8 << 20;

/// Bytes of each side that are read at once.
const PIECE_BYTES: u64 = 2 << 20;

/// A tensor to be fitted.
#[derive(Debug, Clone)]
pub struct FitItem {
    /// Its name.
    pub name: String,
    /// The fine-tune's bytes.
    pub fine: TensorRange,
    /// The base's, if it has some.
    pub base: Option<TensorRange>,
    /// Words per row.
    pub columns: u64,
    /// Words that both have.
    pub common: u64,
    /// Level of effort.
    pub effort: u32,
    /// Whether a prediction is tried.
    pub low_rank: bool,
}
wire!(FitItem {
    name,
    fine,
    base,
    columns,
    common,
    effort,
    low_rank
});

impl FitItem {
    /// Bytes that it reads.
    pub fn cost(&self) -> u64 {
        self.fine.range.len + self.base.as_ref().map_or(0, |b| b.range.len)
    }
}

/// What fitting a tensor found.
#[derive(Debug)]
pub struct Fitted {
    /// Digest of the base's bytes.
    pub base: Digest,
    /// Digest of the fine-tune's.
    pub digest: Digest,
    /// Whether the common words are the same.
    pub equal: bool,
    /// Scales of the columns.
    pub columns: Vec<i16>,
    /// The prediction.
    pub factors: Option<Factors>,
    /// Counts of symbols by context: context, symbol, count.
    pub counts: Vec<(u16, u8, u32)>,
    /// Counts of factors by class.
    pub factor_counts: Vec<(u16, u8, u32)>,
}
wire!(Fitted {
    base,
    digest,
    equal,
    columns,
    factors,
    counts,
    factor_counts
});

/// Runs the fit task; reports a list of [`Fitted`].
pub async fn fit_tensors(io: Io, items: Vec<FitItem>) -> Result<String> {
    let mut fitted = Vec::with_capacity(items.len());
    for item in &items {
        fitted.push(fit_tensor(&io, item).await?);
    }
    to_wire(&fitted)
}

async fn fit_tensor(io: &Io, item: &FitItem) -> Result<Fitted> {
    let layout = Layout::of(item.fine.dtype);
    let width = layout.bytes() as u64;
    let (mut of_base, mut of_fine) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut found = Fitted {
        base: [0; 16],
        digest: [0; 16],
        equal: true,
        columns: Vec::new(),
        factors: None,
        counts: Vec::new(),
        factor_counts: Vec::new(),
    };
    let mut done = 0;
    if let Some(base) = &item.base {
        let base_width = match base.dtype == item.fine.dtype {
            true => width,
            false => base.dtype.bytes().unwrap_or(1) as u64,
        };
        let row = item.columns * width;
        let stride = (item.common * width).div_ceil(SAMPLE_BYTES).max(1);
        let mut sample = Sample::with_stride(layout, item.columns as usize, stride as usize);
        let step = (PIECE_BYTES / row).max(1) * item.columns;
        let (mut a, mut b, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        while done < item.common {
            let n = step.min(item.common - done);
            let (base_at, base_len) = part(base, done, n, base_width);
            let (fine_at, fine_len) = part(&item.fine, done, n, width);
            a.resize(base_len, 0);
            b.resize(fine_len, 0);
            let read = |source, offset, buf| Read { source, offset, buf };
            io.read(&mut [
                read(base.source, base_at, &mut a),
                read(item.fine.source, fine_at, &mut b),
            ])
            .await?;
            of_base.update(&a);
            of_fine.update(&b);
            let from = in_dtype(base.dtype, item.fine.dtype, &a, &mut scratch);
            if from == b {
                sample.skip(b.len());
            } else {
                found.equal = false;
                sample.add(from, &b);
            }
            done += n;
        }
        hash_rest(io, base, done * base_width, &mut of_base).await?;
        if !found.equal {
            let fit = fit(&sample, Effort::level(item.effort, item.low_rank));
            found.columns = fit.columns;
            found.factors = fit.factors;
            found.counts = sparse(&fit.counts, stride as u32);
            found.factor_counts = sparse(&fit.factor_counts, 1);
        } else {
            found.columns = vec![0; item.columns as usize];
        }
    }
    hash_rest(io, &item.fine, done * width, &mut of_fine).await?;
    found.base = digest(&of_base);
    found.digest = digest(&of_fine);
    Ok(found)
}

/// The counts that are not 0, each for `stride` rows.
fn sparse(counts: &Counts, stride: u32) -> Vec<(u16, u8, u32)> {
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
