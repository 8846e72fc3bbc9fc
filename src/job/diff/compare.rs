//! The task of `diff`: tensors of both sides, value by value.

use crate::error::{Code, Error, Result};
use crate::job::changes::{Change, Changes};
use crate::job::machine::Io;
use crate::job::placed::TensorRange;
use crate::job::report::to_found;
use crate::job::v2::past::Past;
use crate::job::v2::reader::Reader;
use crate::job::values::{Origin, Values};
use crate::job::wire::{wire, wire_enum};
use crate::kernels::stats::Likeness;
use crate::limits::BLOCK_ELEMENTS;

/// A tensor on both sides.
#[derive(Debug, Clone)]
pub struct DiffItem {
    pub(super) name: String,
    pub(super) sides: DiffSides,
}
wire!(DiffItem { name, sides });

#[derive(Debug, Clone)]
pub(super) enum DiffSides {
    /// Two models, and the base that both came from.
    Models {
        a: TensorRange,
        b: TensorRange,
        base: Option<TensorRange>,
    },
    /// Two deltas.
    Deltas { a: Change, b: Change },
}
wire_enum!(DiffSides {
    0: Models { a: a, b: b, base: base },
    1: Deltas { a: a, b: b }
});

impl DiffItem {
    /// Bytes that comparing reads.
    pub(super) fn cost(&self) -> u64 {
        match &self.sides {
            DiffSides::Models { a, b, base } => a.range.len + b.range.len + base.as_ref().map_or(0, |t| t.range.len),
            DiffSides::Deltas { a, b } => a.bytes() + b.bytes(),
        }
    }

    /// What counts for how many make a task. Small tensors of version 2 lie in blocks of 2 MiB, of which the first and the
    /// last of a task are decoded for its neighbours too: so that these are few, it is what the values take in 16 bits.
    pub(super) fn weight(&self) -> u64 {
        match &self.sides {
            DiffSides::Models { .. } => self.cost(),
            DiffSides::Deltas { a, .. } => 2 * a.values(),
        }
    }
}

/// Sums over one tensor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    dot: f64,
    a_sq: f64,
    b_sq: f64,
    pub(super) apart_sq: f64,
    pub(super) equal: u64,
}
wire!(Sums {
    dot,
    a_sq,
    b_sq,
    apart_sq,
    equal
});

impl Sums {
    pub(super) fn add(&mut self, other: &Sums) {
        self.dot += other.dot;
        self.a_sq += other.a_sq;
        self.b_sq += other.b_sq;
        self.apart_sq += other.apart_sq;
        self.equal += other.equal;
    }

    /// How far apart the two are, as a share of the first.
    pub(super) fn relative(&self) -> Option<f64> {
        (self.a_sq > 0.0).then(|| (self.apart_sq / self.a_sq).sqrt())
    }

    pub(super) fn cosine(&self) -> Option<f64> {
        let norm = self.a_sq.sqrt() * self.b_sq.sqrt();
        (norm > 0.0).then(|| (self.dot / norm).clamp(-1.0, 1.0))
    }
}

/// Runs the diff task; reports a list of [`Sums`], or damage.
pub async fn diff_tensors(io: Io, items: Vec<DiffItem>, pasts: Vec<Past>) -> Result<Vec<u8>> {
    to_found(compare(&io, &items, pasts).await)
}

async fn compare(io: &Io, items: &[DiffItem], pasts: Vec<Past>) -> Result<Vec<Sums>> {
    let mut sums = Vec::with_capacity(items.len());
    // Small tensors share blocks, which these keep.
    let mut readers: Vec<Reader> = pasts.into_iter().map(Reader::new).collect();
    for item in items {
        let likeness = match &item.sides {
            DiffSides::Models { a, b, base } => models(io, &item.name, a, b, base.as_ref()).await?,
            DiffSides::Deltas { a, b } => deltas(io, &item.name, a, b, &mut readers).await?,
        };
        let (a_sq, b_sq) = likeness.squares();
        sums.push(Sums {
            dot: likeness.dot(),
            a_sq,
            b_sq,
            apart_sq: likeness.apart_sq(),
            equal: likeness.equal(),
        });
    }
    Ok(sums)
}

async fn models(io: &Io, name: &str, a: &TensorRange, b: &TensorRange, base: Option<&TensorRange>) -> Result<Likeness> {
    let bare = |t: &TensorRange| Origin {
        name: name.to_owned(),
        base: t.clone(),
        deltas: Vec::new(),
        past: None,
    };
    let mut a = Values::open(io, &bare(a), None).await?;
    let mut b = Values::open(io, &bare(b), None).await?;
    let mut base = match base {
        Some(base) => Some(Values::open(io, &bare(base), None).await?),
        None => None,
    };
    let mut likeness = Likeness::default();
    let (mut xs, mut ys, mut zs) = (Vec::new(), Vec::new(), Vec::new());
    while a.next_len() > 0 {
        for (values, out) in [(&mut a, &mut xs), (&mut b, &mut ys)] {
            gather(io, values, out).await?;
        }
        if let Some(base) = &mut base {
            gather(io, base, &mut zs).await?;
            for side in [&mut xs, &mut ys] {
                side.iter_mut().zip(&zs).for_each(|(v, z)| *v -= z);
            }
        }
        likeness.feed(&xs, &ys);
    }
    Ok(likeness)
}

async fn gather(io: &Io, values: &mut Values<'_>, out: &mut Vec<f32>) -> Result<()> {
    values.load(io, &mut []).await?;
    out.clear();
    values
        .blocks(io, &mut |block| {
            out.extend_from_slice(block.values);
            Ok(())
        })
        .await
}

async fn deltas(io: &Io, name: &str, a: &Change, b: &Change, readers: &mut [Reader]) -> Result<Likeness> {
    let [of_a, of_b] = readers else {
        return Err(Error::new(Code::Internal, "a side has no past"));
    };
    let mut likeness = Likeness::default();
    let mut left = Changes::open(io, name, a, of_a).await?;
    let mut right = Changes::open(io, name, b, of_b).await?;
    let (mut xs, mut ys) = (vec![0.0f32; BLOCK_ELEMENTS], vec![0.0f32; BLOCK_ELEMENTS]);
    let mut rest = a.values();
    while rest > 0 {
        let n = rest.min(BLOCK_ELEMENTS as u64) as usize;
        left.next(io, &mut xs[..n]).await?;
        right.next(io, &mut ys[..n]).await?;
        likeness.feed(&xs[..n], &ys[..n]);
        rest -= n as u64;
    }
    Ok(likeness)
}
