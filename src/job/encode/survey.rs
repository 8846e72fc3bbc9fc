//! The first look at a pair's deltas: what a strategy would keep, and whether it would spoil the tensor.

use super::pair::Pair;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::job::machine::{Io, Read};
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::v2::past::Past;
use crate::job::v2::reader::Reader;
use crate::job::values::Origin;
use crate::job::wire::wire;
use crate::kernels::convert;
use crate::limits::CHUNK_BYTES;
use crate::strategy::{Strategy, Survey, Surveyed};

/// A tensor to look at.
#[derive(Debug, Clone)]
pub struct SurveyItem {
    /// What the decoder will start from.
    pub origin: Origin,
    /// The tensor of the fine-tune, which it shall give.
    pub finetuned: TensorRange,
    /// Dimensions of base and fine-tune.
    pub shape: Vec<u64>,
    /// The strategy that is considered.
    pub strategy: Strategy,
    /// How many values it would keep.
    pub kept: u64,
    /// See [`Pair::open`].
    pub keep_equal: bool,
}
wire!(SurveyItem {
    origin,
    finetuned,
    shape,
    strategy,
    kept,
    keep_equal
});

impl SurveyItem {
    /// Bytes that a survey reads, but for the further passes that it seldom needs.
    pub fn cost(&self) -> u64 {
        self.origin.cost() + self.finetuned.range.len
    }
}

/// What a survey found.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Every byte is the base's and no delta before touches the tensor.
    pub equal: bool,
    /// Whether [`Pair::open`] was to `keep_equal` and that changed something: if not, later passes do without.
    pub keep_equal: bool,
    /// For dtypes other than floats: storing every non-zero delta gives back every byte.
    pub exact: bool,
    /// The strategy's own survey; none where the dtype does not convert to float32.
    pub surveyed: Option<Surveyed>,
}
wire!(Seen {
    equal,
    keep_equal,
    exact,
    surveyed
});

/// Runs the survey task; reports a list of [`Seen`].
pub async fn survey(io: Io, items: Vec<SurveyItem>, past: Past) -> Result<Vec<u8>> {
    let mut reader = Reader::new(past);
    let mut seen = Vec::with_capacity(items.len());
    for item in &items {
        let convertible = item.origin.base.dtype.to_f32_defined() && item.finetuned.dtype.to_f32_defined();
        seen.push(if convertible {
            look(&io, item, &mut reader).await?
        } else {
            compare(&io, item, &mut reader).await?
        });
    }
    to_wire(&seen)
}

async fn look(io: &Io, item: &SurveyItem, reader: &mut Reader) -> Result<Seen> {
    let mut survey = Survey::new(item.strategy, &item.shape, item.kept);
    let same_dtype = item.origin.base.dtype == item.finetuned.dtype;
    let mut equal = same_dtype && item.origin.is_unchanged();
    let check_exact = !item.finetuned.dtype.is_float();
    let mut exact = check_exact && same_dtype;
    let mut first = true;
    let mut keep_equal = item.keep_equal;
    loop {
        let mut pair = Pair::open(io, &item.origin, &item.finetuned, keep_equal, &mut *reader).await?;
        while pair
            .next(io, &mut |block| {
                survey.feed(block.delta);
                if first {
                    equal = equal && block.base_bytes == block.finetuned_bytes;
                    exact = exact && restores(item.finetuned.dtype, &block);
                }
                Ok(())
            })
            .await?
        {}
        first = false;
        keep_equal = keep_equal && !pair.finite();
        if !survey.end_pass() {
            break;
        }
    }
    Ok(Seen {
        equal,
        keep_equal,
        exact,
        surveyed: Some(survey.finish()),
    })
}

/// True when base plus delta, rounded to the dtype, gives the fine-tune's bytes.
fn restores(dtype: Dtype, block: &super::pair::PairBlock<'_>) -> bool {
    let n = block.delta.len();
    let mut base = vec![0.0; n];
    convert::to_f32(dtype, block.base_bytes, &mut base);
    let sum: Vec<f32> = base.iter().zip(block.delta).map(|(b, d)| b + d).collect();
    let mut out = vec![0; block.finetuned_bytes.len()];
    convert::keep_or_round(dtype, &sum, &base, block.base_bytes, &mut out);
    out == block.finetuned_bytes
}

/// Compares the bytes of a tensor whose dtype does not convert to float32.
async fn compare(io: &Io, item: &SurveyItem, reader: &mut Reader) -> Result<Seen> {
    let (base, own) = (&item.origin.base, &item.finetuned);
    let mut equal = base.dtype == own.dtype && base.range.len == own.range.len && item.origin.is_unchanged();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut done = 0;
    while equal && done < base.range.len {
        let len = (base.range.len - done).min(CHUNK_BYTES as u64) as usize;
        b.resize(len, 0);
        let mut reads = vec![Read {
            source: own.source,
            offset: own.range.offset + done,
            buf: &mut b,
        }];
        match item.origin.past {
            Some(number) => a = reader.read(io, reader.top(), number, done, len).await?,
            None => {
                a.resize(len, 0);
                reads.push(Read {
                    source: base.source,
                    offset: base.range.offset + done,
                    buf: &mut a,
                });
            }
        }
        io.read(&mut reads).await?;
        equal = a == b;
        done += len as u64;
    }
    Ok(Seen {
        equal,
        keep_equal: false,
        exact: false,
        surveyed: None,
    })
}
