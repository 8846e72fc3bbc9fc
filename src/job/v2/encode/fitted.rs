//! What the fit task is told, and what it finds.

use crate::format::v2::index::Digest;
use crate::format::v2::placed::Geometry;
use crate::job::placed::TensorRange;
use crate::job::v2::past::Past;
use crate::job::wire::{wire, wire_enum};
use crate::strategy::lossless::factors::Factors;
use crate::strategy::lossless::fit::Effort;
use crate::strategy::lossless::form::Form;

/// Bytes of each side that a probe looks at, about.
const PROBE_BYTES: u64 = 1 << 20;

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
    pub fn probes(self) -> bool {
        matches!(self.purpose, Purpose::Estimate | Purpose::Weigh)
    }

    /// The effort of that level; no prediction and little effort where it is an estimate.
    pub fn effort(self) -> Effort {
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
    /// By how many steps it is dithered more finely than the look says; none where nothing may be lost.
    pub finer: Option<u8>,
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
    /// In which words it is coded.
    pub form: Form,
    /// What levels of its dither are made from: another one for another fine-tune.
    pub seed: u64,
    /// How it is coded without any loss.
    pub exact: TensorCoding,
    /// How it is coded with the loss that was asked for, where that pays.
    pub lossy: Option<TensorCoding>,
}
wire!(Fitted {
    mark,
    whole,
    alone,
    change,
    equal,
    form,
    seed,
    exact,
    lossy
});

impl Fitted {
    /// The way that is thought to be shortest.
    pub fn best(&self) -> &TensorCoding {
        self.lossy.as_ref().unwrap_or(&self.exact)
    }
}

/// A way to code a tensor.
#[derive(Debug, Default)]
pub struct TensorCoding {
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
wire!(TensorCoding {
    columns,
    factors,
    counts,
    factor_counts,
    step,
    dither_counts
});
