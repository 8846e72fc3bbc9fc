//! What `stats` says of one tensor's decoded delta, of either version.

use crate::error::Result;
use crate::job::changes::Changes;
use crate::job::chunks::Chunks;
use crate::job::machine::Io;
use crate::job::placed::{DeltaTensor, TensorRange};
use crate::kernels::convert;
use crate::kernels::float16;
use crate::kernels::stats::{histogram, Moments};
use crate::limits::{BLOCK_ELEMENTS, CHUNK_ELEMENTS};
use crate::strategy::{rows_cols, Strategy};
use serde::Serialize;

/// Most rows that are reported one by one; more are taken together.
const MAX_ROWS: u64 = 256;

/// What a tensor's decoded delta looks like.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorStats {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    elements: u64,
    strategy: &'static str,
    /// Of the low-rank prediction that it is decoded with, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    zeros: u64,
    non_finite: u64,
    mean: f64,
    rms: f64,
    min: f64,
    max: f64,
    norm: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relative: Option<f64>,
    histogram: Histogram,
    rows: Rows,
    outliers: Outliers,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) levels: Option<Levels>,
}

#[derive(Serialize)]
struct Histogram {
    lo: f64,
    hi: f64,
    counts: Vec<u64>,
}

#[derive(Serialize)]
struct Rows {
    /// Root mean square of each row, or of each group of `per` rows.
    rms: Vec<f64>,
    per: u64,
}

#[derive(Serialize)]
struct Outliers {
    count: u64,
    share: f64,
}

/// The sixteen values of an `int4` tensor lie at `zeroPoint + q * scale`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Levels {
    scale: f64,
    zero_point: f64,
}

/// A tensor that is looked at.
pub struct Looked<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its dtype.
    pub dtype: &'static str,
    /// Its shape.
    pub shape: &'a [u64],
    /// How it is stored.
    pub strategy: &'static str,
    /// Values of its decoded delta.
    pub values: u64,
}

impl TensorStats {
    /// Adds what the base has.
    pub(super) fn set_base(&mut self, norm: f64) {
        self.base_norm = Some(norm);
        self.relative = (norm > 0.0).then(|| self.norm / norm);
    }

    pub(super) fn set_outliers(&mut self, count: u64) {
        let n = self.elements.max(1) as f64;
        self.outliers = Outliers {
            count,
            share: count as f64 / n,
        };
    }
}

/// What the decoded delta of a tensor looks like, which is streamed twice.
pub async fn look(io: &Io, of: &Looked<'_>, changes: &mut Changes<'_>, bins: u32) -> Result<TensorStats> {
    let n = of.values;
    let mut rows = RowSums::new(of.shape, n);
    let mut moments = Moments::default();
    let mut block = vec![0.0f32; BLOCK_ELEMENTS];
    let mut at = 0u64;
    while at < n {
        let len = (n - at).min(block.len() as u64) as usize;
        changes.next(io, &mut block[..len]).await?;
        moments.feed(&block[..len]);
        rows.add(at, &block[..len]);
        at += len as u64;
    }
    let base_norm = changes.base().map(|base| base.sum_sq().sqrt());
    let finite = (n - moments.non_finite()).max(1) as f64;
    let mut item = TensorStats {
        name: of.name.to_owned(),
        dtype: of.dtype,
        shape: of.shape.to_vec(),
        elements: n,
        strategy: of.strategy,
        rank: Some(changes.rank()).filter(|&rank| rank > 0),
        zeros: moments.zeros(),
        non_finite: moments.non_finite(),
        mean: moments.sum() / finite,
        rms: (moments.sum_sq() / finite).sqrt(),
        min: moments.min().map_or(0.0, f64::from),
        max: moments.max().map_or(0.0, f64::from),
        norm: moments.sum_sq().sqrt(),
        base_norm: None,
        relative: None,
        histogram: Histogram::empty(moments.largest(), bins),
        rows: rows.report(),
        outliers: Outliers { count: 0, share: 0.0 },
        levels: None,
    };
    if moments.largest() > 0.0 {
        changes.rewind(io).await?;
        let mut left = n;
        while left > 0 {
            let len = left.min(block.len() as u64) as usize;
            changes.next(io, &mut block[..len]).await?;
            let largest = moments.largest();
            histogram(&block[..len], -largest, largest, &mut item.histogram.counts);
            left -= len as u64;
        }
    }
    if let Some(norm) = base_norm {
        item.set_base(norm);
    }
    Ok(item)
}

impl Histogram {
    /// Of values up to `largest` in magnitude, of which none was counted.
    fn empty(largest: f32, bins: u32) -> Self {
        Self {
            lo: -f64::from(largest),
            hi: f64::from(largest),
            counts: vec![0; bins as usize],
        }
    }
}

/// Squares of values, summed by rows, or by groups of rows where there are many.
struct RowSums {
    n_rows: u64,
    /// Values in a row.
    cols: u64,
    /// Rows in a group.
    per: u64,
    sums: Vec<f64>,
}

impl RowSums {
    /// Of a tensor of `n` values.
    fn new(shape: &[u64], n: u64) -> Self {
        let n_rows = match shape.len() {
            0 | 1 => 1,
            _ => rows_cols(shape).0,
        };
        let per = n_rows.div_ceil(MAX_ROWS).max(1);
        Self {
            n_rows,
            cols: n / n_rows.max(1),
            per,
            sums: vec![0.0; n_rows.div_ceil(per).min(MAX_ROWS) as usize],
        }
    }

    /// Adds values, the first of which is at position `at`.
    fn add(&mut self, mut at: u64, values: &[f32]) {
        let group = (self.cols * self.per).max(1);
        let mut rest = values;
        while !rest.is_empty() {
            let index = (at / group) as usize;
            let len = ((group - at % group) as usize).min(rest.len());
            if let Some(sum) = self.sums.get_mut(index) {
                *sum += rest[..len]
                    .iter()
                    .filter(|v| v.is_finite())
                    .map(|&v| f64::from(v) * f64::from(v))
                    .sum::<f64>();
            }
            rest = &rest[len..];
            at += len as u64;
        }
    }

    fn report(&self) -> Rows {
        let rms = |(i, sum): (u64, &f64)| {
            let n_rows = self.per.min(self.n_rows - i * self.per);
            (sum / (n_rows * self.cols).max(1) as f64).sqrt()
        };
        Rows {
            rms: (0..).zip(&self.sums).map(rms).collect(),
            per: self.per,
        }
    }
}

pub(super) async fn base_norm(io: &Io, base: &TensorRange) -> Result<f64> {
    let width = base.dtype.bytes().unwrap_or(1);
    let mut moments = Moments::default();
    let (mut bytes, mut values) = (Vec::new(), vec![0.0f32; BLOCK_ELEMENTS]);
    let mut chunks = Chunks::new(base.source, base.range).of_at_most(CHUNK_ELEMENTS * width);
    while chunks.next(io, &mut bytes).await? {
        for block in bytes.chunks(BLOCK_ELEMENTS * width) {
            let values = &mut values[..block.len() / width];
            convert::to_f32(base.dtype, block, values);
            moments.feed(values);
        }
    }
    Ok(moments.sum_sq().sqrt())
}

pub(super) async fn levels(io: &Io, placed: &DeltaTensor) -> Result<Option<Levels>> {
    if placed.strategy != Strategy::Int4 {
        return Ok(None);
    }
    let at = |field: &str| {
        placed
            .strategy
            .fields()
            .iter()
            .position(|f| f.name == field)
            .map_or(0, |i| placed.fields[i].offset)
    };
    let scale = io.read_vec(placed.source, at("scale"), 2).await?;
    let zero_point = io.read_vec(placed.source, at("zero_point"), 2).await?;
    let value = |b: &[u8]| f64::from(float16::f16_to_f32(u16::from_le_bytes([b[0], b[1]])));
    let levels = Levels {
        scale: value(&scale),
        zero_point: value(&zero_point),
    };
    // The reference writes infinite ones, of which no level is a number.
    Ok(Some(levels).filter(|l| l.scale.is_finite() && l.zero_point.is_finite()))
}
