//! The fit task: the scales and the prediction of a tensor and its counts, of a part of it, and whether it changed at all.

use super::fitted::{Fit, FitItem, Fitted, Look, Purpose, Sparse, TensorCoding};
use super::sides::Sides;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::format::v2::index::Digest;
use crate::job::chunks::Chunks;
use crate::job::machine::Io;
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::v2::digest;
use crate::job::v2::reader::Reader;
use crate::kernels::v2::element::Layout;
use crate::offset::ByteRange;
use crate::strategy::lossless::factors::Factors;
use crate::strategy::lossless::fit::{fit, of_all_rows, Counts, Sample, SampleFit};
use crate::strategy::lossless::form::Form;
use crate::strategy::lossless::nibbles::by_nibbles;
use crate::strategy::lossless::stored;
use crate::strategy::lossy::fit::choose_way;
use crate::strategy::lossy::importance::relative_change;

/// Bytes in the middle of a tensor that tell it from others.
const MARK_BYTES: u64 = 16 << 10;

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
    let mark = mark(io, look, &item.fine).await?;
    // What holds of a tensor without a base.
    let alone = Fitted {
        mark: mark.digest,
        whole: mark.of_all.then_some(mark.digest),
        alone: mark.alone,
        change: 0.0,
        equal: true,
        form: Form::Own,
        seed: 0,
        exact: TensorCoding::default(),
        lossy: None,
    };
    let Some(base) = item.base else {
        return Ok(alone);
    };
    let form = match item.fine.dtype {
        Dtype::F32 => narrow(io, look, &item.fine).await?,
        _ => Form::Own,
    };
    let compared = Sides::new(reader, item, base, form).compare(io, look).await?;
    let with_base = Fitted {
        whole: compared.whole.or(alone.whole),
        equal: compared.equal,
        form,
        seed: compared.seed,
        ..alone
    };
    // Rows that differ may do so by what rounding the base leaves out.
    if compared.equal || compared.rows.is_empty() {
        let exact = TensorCoding {
            columns: vec![0; item.columns as usize],
            ..TensorCoding::default()
        };
        return Ok(Fitted { exact, ..with_base });
    }
    let change = match look.probes() && look.step.is_none() {
        true => relative_change(&compared.rows),
        false => 0.0,
    };
    if look.purpose == Purpose::Weigh {
        return Ok(Fitted { change, ..with_base });
    }
    let (rows, stride) = (&compared.rows, item.stride as u32);
    let fit = fit(rows, look.effort());
    if let Some(found) = by_nibbles(item.fine.dtype, rows, &fit, look.effort()) {
        return Ok(Fitted {
            form: Form::Nibbles,
            exact: exact(found.fit, stride * found.stride as u32),
            ..with_base
        });
    }
    Ok(Fitted {
        change,
        lossy: lossy(look, item, rows, &fit),
        exact: exact(fit, stride),
        ..with_base
    })
}

/// How a tensor of which this was found is coded without any loss; one of `stride` rows was counted.
fn exact(fit: SampleFit, stride: u32) -> TensorCoding {
    TensorCoding {
        columns: fit.columns,
        factor_counts: of_factors(fit.factor_counts, fit.factors.as_ref(), stride),
        factors: fit.factors,
        counts: sparse(&fit.counts, stride),
        ..TensorCoding::default()
    }
}

/// How a tensor with these rows is coded with the loss that was asked for, where that pays.
fn lossy(look: Look, item: &FitItem, rows: &Sample, fit: &SampleFit) -> Option<TensorCoding> {
    let (effort, stride) = (look.effort(), item.stride);
    let step = look.step.zip(item.finer).map(|(step, finer)| step - finer);
    let lossy = step.and_then(|step| choose_way(rows, effort, step, stride, fit));
    lossy.map(|way| TensorCoding {
        columns: way.columns,
        factor_counts: of_factors(way.factor_counts, way.factors.as_ref(), stride as u32),
        factors: way.factors,
        counts: sparse(&way.exact, stride as u32),
        step: Some(way.step),
        dither_counts: sparse(&way.dithered, stride as u32),
    })
}

/// Counts of the factors of all rows and columns, of those of the columns and of one of `stride` rows.
fn of_factors(mut counts: Counts, factors: Option<&Factors>, stride: u32) -> Sparse {
    if let Some(factors) = factors {
        of_all_rows(&mut counts, factors, stride);
    }
    sparse(&counts, 1)
}

/// What the bytes in the middle of a tensor show.
struct Mark {
    digest: Digest,
    /// Whether they are all that the tensor has.
    of_all: bool,
    /// What they take without a base, for each byte; 1 where it was not asked for.
    alone: f64,
}

/// Hashes what tells a tensor from others, or all of it.
async fn mark(io: &Io, look: Look, fine: &TensorRange) -> Result<Mark> {
    let ByteRange { offset, len } = fine.range;
    let n = match look.purpose {
        Purpose::Hash => len,
        _ => len.min(MARK_BYTES),
    };
    let mut chunks = Chunks::new(fine.source, ByteRange::new(offset + (len - n) / 2, n)?);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    let mut alone = 1.0;
    while chunks.next(io, &mut bytes).await? {
        hasher.update(&bytes);
        // Only a ratio needs it. A look that codes with a step may be for a quality as well: it is not told which.
        if look.purpose == Purpose::Estimate || (look.purpose == Purpose::Code && look.step.is_some()) {
            let width = Layout::of(fine.dtype).bytes();
            alone = stored::encode(&bytes, width).len() as f64 / bytes.len() as f64;
        }
    }
    Ok(Mark {
        digest: digest(&hasher),
        of_all: n == len,
        alone,
    })
}

/// The form of BF16 or F16 if all values of a tensor of F32 are of that dtype.
async fn narrow(io: &Io, look: Look, fine: &TensorRange) -> Result<Form> {
    let ByteRange { offset, len } = fine.range;
    let n = len.min(MARK_BYTES) / 4 * 4;
    let mut bytes = io.read_vec(fine.source, offset + (len - n) / 8 * 4, n as usize).await?;
    // Few bytes from the middle tell most tensors that have no such values.
    for form in [Form::Bf16, Form::F16] {
        let mut all = form.exactly(Dtype::F32, &bytes).is_some();
        let mut chunks = Chunks::new(fine.source, fine.range);
        while all && !look.probes() && chunks.next(io, &mut bytes).await? {
            all = form.exactly(Dtype::F32, &bytes).is_some();
        }
        if all {
            return Ok(form);
        }
    }
    Ok(Form::Own)
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
