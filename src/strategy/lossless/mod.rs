//! Lossless coding of a fine-tune given its base: every weight as its distance in representable steps, in one of a few
//! dozen contexts that the decoder derives from the base's exponent and from a scale per row and per column.

pub mod block;
pub mod fit;
pub mod low_rank;
pub mod merge;
pub mod model;
pub mod rows;
pub mod side;
