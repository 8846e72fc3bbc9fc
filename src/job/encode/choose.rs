//! The safe mode: which strategy a tensor really gets.
//!
//! A strategy that would spoil a tensor (NaN or infinity spread over it, scales outside float16, one element, none at all) is
//! replaced by `sparse` with as many entries as the tensor needs, which every reader of version 1 decodes; an unchanged
//! tensor gets empty arrays.

use super::survey::{Seen, SurveyItem};
use super::wanted::Wanted;
use crate::error::{Code, Error, Result};
use crate::format::v1::writer::py_float;
use crate::strategy::{kept_sparse, Cut, Strategy, Surveyed};

/// Entries of an exact `sparse` tensor that are always worth it: 12 MB at most.
const EXACT_ALWAYS: u64 = 1 << 20;

/// Sparsity of the fall-back where storing every changed value would cost too much: the reference's default.
const FALLBACK_SPARSITY: f64 = 0.9;

/// What was decided for a tensor.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The strategy that it gets.
    pub strategy: Strategy,
    /// Number of kept values.
    pub kept: u64,
    /// The survey to write by; none writes empty arrays.
    pub surveyed: Option<Surveyed>,
    /// Spelling of the option in the header, where it is not the one asked for.
    pub option: Option<String>,
    /// Why it is not the strategy that was asked for.
    pub reason: Option<String>,
    /// Values of the delta that are zero.
    pub unchanged: u64,
}

/// The tensors of a delta to be written, and how.
#[derive(Clone, Copy)]
pub struct Chosen<'a> {
    /// What was asked for.
    pub wanted: &'a Wanted,
    /// The tensors, sorted by name.
    pub items: &'a [SurveyItem],
    /// What was decided for each.
    pub choices: &'a [Choice],
}

impl Chosen<'_> {
    /// Each tensor with what was decided for it.
    pub fn pairs(&self) -> impl Iterator<Item = (&SurveyItem, &Choice)> {
        self.items.iter().zip(self.choices)
    }
}

impl Choice {
    /// The strategy asked for, before anything is known of the values.
    pub fn as_asked(item: &SurveyItem) -> Self {
        Self::before(item.strategy, item.kept)
    }

    /// The same in safe mode, where integers are kept exactly: all of them may have changed.
    pub fn as_expected(item: &SurveyItem) -> Self {
        match item.finetuned.dtype.is_float() {
            true => Self::as_asked(item),
            false => Self::before(Strategy::Sparse, item.finetuned.elements),
        }
    }

    /// A strategy and how many values it keeps, and nothing else.
    fn before(strategy: Strategy, kept: u64) -> Self {
        Choice {
            strategy,
            kept,
            surveyed: None,
            option: None,
            reason: None,
            unchanged: 0,
        }
    }
}

/// What to do with a tensor.
pub enum Decision {
    /// Write it so.
    Take(Choice),
    /// Survey it again as this choice says, whose own survey is still missing, then write it so.
    Again(Choice),
}

/// Decides by what the survey of `item` found.
pub fn choose(item: &SurveyItem, seen: &Seen) -> Result<Decision> {
    let name = &item.origin.name;
    let n = item.finetuned.elements;
    if seen.equal || n == 0 {
        return Ok(Decision::Take(Choice {
            // From this sparsity readers know that no entries follow.
            option: Some("1.0".into()),
            reason: Some(if n == 0 { "empty" } else { "unchanged" }.into()),
            unchanged: n,
            ..Choice::before(Strategy::Sparse, 0)
        }));
    }
    let dtype = item.finetuned.dtype;
    let Some(surveyed) = &seen.surveyed else {
        return Err(Error::new(
            Code::UnsupportedDtype,
            format!(
                "its {} values changed, and a version 1 delta holds float32 differences only; keep this tensor as the base has it",
                dtype.name()
            ),
        )
        .about(name));
    };
    if surveyed.non_finite > 0 {
        return Err(Error::new(
            Code::NonFinite,
            format!(
                "{} of its differences are NaN or infinite, which would spread over the tensor; mend the fine-tune or the base, or use the option `reference` to write what the reference writes",
                surveyed.non_finite
            ),
        )
        .about(name));
    }
    if !dtype.is_float() {
        if seen.exact {
            let reason = format!("{} is kept exactly", dtype.name());
            return Ok(Decision::Take(exact(surveyed, Some(reason))));
        }
        return Err(Error::new(
            Code::UnsupportedDtype,
            format!(
                "its {} values changed by amounts that float32 differences cannot hold exactly; keep this tensor as the base has it",
                dtype.name()
            ),
        )
        .about(name));
    }
    Ok(choose_for_floats(item, surveyed))
}

/// Decides for a tensor of floats that changed, by finite amounts.
fn choose_for_floats(item: &SurveyItem, surveyed: &Surveyed) -> Decision {
    let (n, changed) = (surveyed.elements, surveyed.nonzero());
    // Zeros that would only fill up the number to keep are not worth twelve bytes each.
    if item.strategy == Strategy::Sparse && changed <= item.kept {
        return Decision::Take(exact(surveyed, None));
    }
    let Some(spoiled) = &surveyed.spoiled else {
        return Decision::Take(Choice {
            surveyed: Some(surveyed.clone()),
            unchanged: surveyed.zeros,
            ..Choice::as_asked(item)
        });
    };
    // Twelve bytes a value: up to a third of the values that is no more than the tensor in float32.
    if changed <= EXACT_ALWAYS || changed <= n / 3 {
        return Decision::Take(exact(surveyed, Some(spoiled.clone())));
    }
    Decision::Again(Choice {
        option: Some(py_float(FALLBACK_SPARSITY)),
        reason: Some(spoiled.clone()),
        unchanged: surveyed.zeros,
        ..Choice::before(Strategy::Sparse, kept_sparse(n, FALLBACK_SPARSITY))
    })
}

/// Every value that changed, and no other.
fn exact(surveyed: &Surveyed, reason: Option<String>) -> Choice {
    let changed = surveyed.nonzero();
    Choice {
        surveyed: Some(Surveyed {
            cut: Some(Cut::nonzero()),
            ..surveyed.clone()
        }),
        option: sparsity_of(surveyed.elements, changed),
        reason,
        unchanged: surveyed.zeros,
        ..Choice::before(Strategy::Sparse, changed)
    }
}

/// A sparsity from which readers work out that exactly `kept` of `n` values are stored, so that they find the records
/// without a walk; none when rounding stands in the way.
fn sparsity_of(n: u64, kept: u64) -> Option<String> {
    let sparsity = 1.0 - (kept as f64 + 0.5) / n as f64;
    let sparsity = if kept == n { 0.0 } else { sparsity };
    let text = if kept == 0 { "1.0".into() } else { py_float(sparsity) };
    (kept == 0 || kept_sparse(n, sparsity) == kept).then_some(text)
}
