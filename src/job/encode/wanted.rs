//! What was asked of `encode`: one of version 1's strategies with its option, and whether it suits.

use crate::error::{Code, Error, Result};
use crate::job::options::{EncodeOptions, HashOrder, NumberText};
use crate::strategy::{kept_int4, kept_sparse, Strategy};

/// The strategy that was asked for, with its option.
pub(super) struct Wanted {
    pub(super) strategy: Strategy,
    pub(super) option: Option<(String, f64)>,
    pub(super) reference: bool,
}

impl Wanted {
    pub(super) fn new(strategy: Strategy, options: &EncodeOptions) -> Result<Self> {
        options.fidelity()?;
        if options.effort.is_some() || options.low_rank.is_some() {
            return Err(Error::new(
                Code::Usage,
                format!(
                    "effort and lowRank are options of lossless and lossy, but the strategy is {}",
                    strategy.name()
                ),
            ));
        }
        let refuse = |given: bool, option: &str, of: &str| {
            if given {
                return Err(Error::new(
                    Code::Usage,
                    format!("{option} is an option of {of}, but the strategy is {}", strategy.name()),
                ));
            }
            Ok(())
        };
        refuse(
            strategy != Strategy::Int4 && options.outlier_fraction.is_some(),
            "outlierFraction",
            "int4",
        )?;
        refuse(
            strategy != Strategy::Sparse && options.sparsity.is_some(),
            "sparsity",
            "sparse",
        )?;
        let resolve = |given: &Option<NumberText>, name: &str, default: (&str, f64)| match given {
            Some(given) => given.resolve(name),
            None => Ok((default.0.to_owned(), default.1)),
        };
        let option = match strategy {
            Strategy::Int4 => Some(resolve(&options.outlier_fraction, "outlierFraction", ("0.01", 0.01))?),
            Strategy::Sparse => Some(resolve(&options.sparsity, "sparsity", ("0.9", 0.9))?),
            Strategy::Quantized => None,
        };
        Ok(Self {
            strategy,
            option,
            reference: options.reference,
        })
    }

    /// The number of values that a tensor of `n` elements keeps.
    pub(super) fn kept(&self, name: &str, n: u64) -> Result<u64> {
        let value = self.option.as_ref().map_or(0.0, |(_, v)| *v);
        let kept = match self.strategy {
            Strategy::Quantized => 0,
            Strategy::Sparse => kept_sparse(n, value).min(n),
            Strategy::Int4 => kept_int4(n, value)?,
        };
        let too_small = match self.strategy {
            Strategy::Int4 => kept >= n,
            Strategy::Quantized => n == 0,
            Strategy::Sparse => false,
        };
        // The safe mode gives such a tensor another strategy.
        if self.reference && too_small {
            return Err(Error::new(
                Code::Usage,
                format!(
                    "it has {n} elements, too few for {}: the reference cannot store it; leave the option `reference` out",
                    self.strategy.name()
                ),
            )
            .about(name));
        }
        Ok(kept)
    }
}

/// Options of version 1 do not go with version 2.
pub(super) fn check_v2(options: &EncodeOptions) -> Result<()> {
    let given = [
        (options.outlier_fraction.is_some(), "outlierFraction"),
        (options.sparsity.is_some(), "sparsity"),
        (options.reference, "reference"),
        (options.hash_order == HashOrder::Memory, "hashOrder"),
    ];
    match given.iter().find(|(given, _)| *given) {
        None => Ok(()),
        Some((_, name)) => Err(Error::new(
            Code::Usage,
            format!(
                "{name} is an option of version 1, but the strategy is {}",
                options.strategy.name()
            ),
        )),
    }
}
