//! Lossless coding of a fine-tune given its base: every weight as its distance in representable steps, in one of a few
//! dozen contexts that the decoder derives from the base's exponent and from a scale per row and per column.
//!
//! This is the coder of the coming version 2 of the format, in memory only: **no container exists yet**, no job writes or
//! reads what it makes, and no public command or function uses it. What a block looks like may still change, so nothing
//! that it makes should be kept. It is reached from tests and from `benches/v2_sizes.rs` alone.
//!
//! | module | idea |
//! |---|---|
//! | [`rows`] | a tensor as rows, a row as classes and codes |
//! | [`fit`] | column scales and predictions of a tensor, and counts of its symbols |
//! | [`low_rank`] | the prediction's factors |
//! | [`merge`] | from the counts of many tensors to shared tables |
//! | [`model`] | those tables, and how they are coded |
//! | [`side`] | flags and scales, coded beside the weights |
//! | [`block`] | rows to bytes and back |

pub mod block;
mod check;
pub mod fit;
pub mod low_rank;
pub mod merge;
pub mod model;
pub mod rows;
pub mod side;
