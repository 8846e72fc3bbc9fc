//! The lossless coder over whole models in memory: what both size and speed are measured with.

use wdelta::dtype::Dtype;
use wdelta::kernels::v2::adaptive::Meter;
use wdelta::kernels::v2::element::Layout;
use wdelta::kernels::v2::tables::{DecodeTables, SYMBOLS};
use wdelta::strategy::lossless::fit::{self, Effort, SampleFit};
use wdelta::strategy::lossless::model::{code_tables, TableSet, Window};
use wdelta::strategy::lossless::{block, factors, merge, rows, side};

/// A tensor of a pair.
pub struct Tensor {
    pub layout: Layout,
    pub columns: usize,
    pub base: Vec<u8>,
    pub fine: Vec<u8>,
}

impl Tensor {
    pub fn new(dtype: Dtype, shape: &[u64], base: Vec<u8>, fine: Vec<u8>) -> Self {
        Self {
            layout: Layout::of(dtype),
            columns: rows::columns(shape) as usize,
            base,
            fine,
        }
    }
}

/// A coded pair.
pub struct Coded {
    pub fits: Vec<SampleFit>,
    pub set: TableSet,
    pub block: Vec<u8>,
    pub stats: block::Stats,
}

pub fn fit_all(tensors: &[Tensor], effort: Effort) -> Vec<SampleFit> {
    tensors
        .iter()
        .map(|t| {
            let words = (t.base.len() / t.layout.bytes()) as u64;
            let stride = effort.stride(t.columns as u64, words).max(1) as usize;
            let mut sample = fit::Sample::new(t.layout, t.columns, stride as u64);
            let row = t.columns * t.layout.bytes();
            // What is looked at as a whole comes in blocks, as in a job.
            let piece = if stride == 1 { t.base.len().max(1) } else { row };
            for (base, fine) in t.base.chunks(piece).zip(t.fine.chunks(piece)).step_by(stride) {
                sample.add(base, fine);
            }
            fit::fit(&sample, effort)
        })
        .collect()
}

pub fn encode(tensors: &[Tensor], effort: Effort) -> Coded {
    let fits = fit_all(tensors, effort);
    let width = tensors[0].layout.bits;
    let window = Window::for_width(width);
    let mut counts = vec![[0; SYMBOLS]; fit::VARIANTS * window.classes as usize];
    let mut factor_counts = vec![[0; SYMBOLS]; factors::FACTOR_CLASSES];
    for f in &fits {
        let sums = counts.iter_mut().chain(&mut factor_counts);
        for (sum, c) in sums.zip(f.counts.iter().chain(&f.factor_counts)) {
            for (s, c) in sum.iter_mut().zip(c) {
                *s += c;
            }
        }
    }
    let raw_factors = fits.iter().any(|f| f.factors.as_ref().is_some_and(|f| f.raw_bits > 0));
    let set = merge::tables(window, width, 11, &counts, &factor_counts, raw_factors);
    let mut segments: Vec<_> = tensors
        .iter()
        .zip(&fits)
        .map(|(t, f)| block::Segment {
            layout: t.layout,
            columns: t.columns,
            scales: &f.columns,
            factors: f.factors.as_ref(),
            dithering: None,
            base: &t.base,
            fine: &t.fine,
        })
        .collect();
    let mut stats = block::Stats::default();
    let cost = (effort.rounds > 0).then(|| block::cost_table(&set, width));
    let block = block::encode(&set, cost.as_ref(), &mut segments, &mut stats);
    Coded {
        fits,
        set,
        block,
        stats,
    }
}

pub fn decode(tensors: &[Tensor], coded: &Coded, outs: &mut [Vec<u8>]) -> wdelta::error::Result<()> {
    let mut targets: Vec<_> = tensors
        .iter()
        .zip(&coded.fits)
        .zip(outs)
        .map(|((t, f), out)| block::Target {
            layout: t.layout,
            columns: t.columns,
            scales: &f.columns,
            factors: f.factors.as_ref(),
            dither: None,
            base: &t.base,
            out,
        })
        .collect();
    block::decode(
        &coded.set,
        &DecodeTables::new(&coded.set.freqs, coded.set.log),
        &coded.block,
        &mut targets,
    )
}

/// Bytes of a set's tables.
pub fn table_bytes(set: &TableSet) -> u64 {
    let mut meter = Meter::default();
    code_tables(&mut meter, set.log, &mut set.freqs.clone());
    meter.q8 / 2048 + 1
}

/// Bytes of the columns' scales and factors.
pub fn column_bytes(coded: &Coded) -> u64 {
    let mut meter = Meter::default();
    let mut models = side::Scales::default();
    let mut factor_bits = 0.0;
    let mut bytes = 1;
    for f in &coded.fits {
        for &c in &f.columns {
            models.scale(&mut meter, c as i32);
        }
        if let Some(f) = &f.factors {
            bytes += 8 + 3 * f.rank as u64 + f.octaves.len() as u64 / 16;
            for (i, &b) in f.right.iter().enumerate() {
                let freqs = &coded.set.freqs[coded.set.factor_context(f.right_classes[i % f.rank])];
                factor_bits += 11.0 - (freqs[b as u8 as usize].max(1) as f64).log2();
            }
        }
    }
    bytes + meter.q8 / 2048 + (factor_bits / 8.0) as u64
}
