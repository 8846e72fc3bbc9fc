//! Lossless coding of a fine-tune given its base: every weight as its distance in representable steps, in one of a few
//! dozen contexts that the decoder derives from the base's exponent and from a scale per row and per column.
//!
//! This is the coder of version 2; what its bytes mean is specified in [`format::v2`](crate::format::v2).
//!
//! | module | idea |
//! |---|---|
//! | [`form`] | in which words a tensor is coded |
//! | [`rows`] | a tensor as rows, a row as classes and codes |
//! | [`fit`] | column scales and predictions of a tensor, and counts of its symbols |
//! | [`scaled`] | rows and columns with their scales, while fitting |
//! | [`estimate`] | lengths that are estimated, to choose by |
//! | [`factors`] | a low-rank prediction: factors of rows and columns |
//! | `low_rank`, `rank` | finding the factors of a tensor, and how many pay |
//! | [`nibbles`] | whether integers are coded by their nibbles |
//! | `projector` | a row's factors, given those of the columns |
//! | [`merge`] | from the counts of many tensors to shared tables |
//! | [`model`] | those tables, and how they are coded |
//! | [`side`] | flags and scales, coded beside the weights |
//! | [`params`] | a table set, and a tensor's scales and factors, as sections of a file |
//! | [`block`] | rows to bytes and back |
//! | [`stored`] | bytes without a base to bytes and back |
//! | [`wire`] | lengths and checksums |

pub mod block;
mod check;
mod encode;
pub mod estimate;
pub mod factors;
pub mod fit;
pub mod form;
mod low_rank;
pub mod merge;
pub mod model;
pub mod nibbles;
pub mod params;
mod projector;
mod rank;
pub mod rows;
pub mod scaled;
pub mod side;
pub mod stored;
pub mod wire;
