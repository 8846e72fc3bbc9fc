//! Lossy coding of a fine-tune given its base: the coder of [`lossless`](super::lossless), with steps coarser than the
//! type's own and a dither that both sides know, so that the error does not depend on what it is an error of.
//!
//! What the bytes mean is specified in [`format::v2`](crate::format::v2), section 8.
//!
//! | module | idea |
//! |---|---|
//! | [`fit`] | whether and how a tensor is dithered, and counts of its symbols |
//! | [`importance`] | which tensors have finer steps than others |
//! | [`loss`] | what is lost |
//! | [`merge`] | from the counts of many tensors to shared tables |
//! | [`quality`] | the one number that is asked for, as a step |
//! | [`row`] | a row to symbols, and what is rebuilt from them |

pub mod fit;
pub mod importance;
pub mod loss;
pub mod merge;
pub mod quality;
pub mod row;
