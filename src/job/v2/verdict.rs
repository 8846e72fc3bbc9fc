//! Who is to blame for a tensor that does not come out right: the delta, the base, or a link before.

use super::digest;
use super::past::Level;
use super::reader::Reader;
use crate::error::{Code, Error, Result};
use crate::job::machine::Io;

/// What is wrong with a whole tensor of the last model that has this hash, if something is: the tensor that it comes from,
/// or the tensor itself.
pub async fn verdict(io: &Io, reader: &mut Reader, tensor: u32, hasher: &blake3::Hasher) -> Result<Option<Error>> {
    let top = reader.top();
    let Level::V2(coded) = &reader.levels()[top] else {
        return Ok(None);
    };
    let t = &coded.tensors[tensor as usize];
    // What came out right was made from the right base. Otherwise that may be the cause.
    if digest(hasher) == t.digest {
        return Ok(None);
    }
    let text = "the rebuilt tensor differs from its digest; the delta is damaged, get it again";
    let mut error = Error::new(Code::Checksum, text);
    if let Some((level, before)) = origin(reader, t.base) {
        if !reader.is_expected(io, level, before).await? {
            error = match level {
                0 => Error::new(
                    Code::WrongBase,
                    "the base's tensor is not the one that the delta was made against; give the delta's own base, or with \
                     this one the deltas before it",
                ),
                _ => Error::new(
                    Code::BrokenChain,
                    format!(
                        "link {level} rebuilds another model than link {} was made against",
                        level + 1
                    ),
                ),
            };
        }
    }
    Ok(Some(error))
}

/// The error of a whole tensor of the last model whose blocks cannot be decoded: another base, if that is the cause.
pub async fn blame(io: &Io, reader: &mut Reader, tensor: u32, error: Error) -> Error {
    match verdict(io, reader, tensor, &blake3::Hasher::new()).await {
        Ok(Some(found)) if found.code != Code::Checksum => found,
        _ => error,
    }
}

/// The tensor, and the number of its model, that a tensor of the last model comes from and that no index vouches for.
fn origin(reader: &Reader, base: Option<u32>) -> Option<(usize, u32)> {
    let (mut level, mut tensor) = (reader.top().checked_sub(1)?, base?);
    while let Level::V2(coded) = &reader.levels()[level] {
        tensor = coded.tensors[tensor as usize].base?;
        level -= 1;
    }
    Some((level, tensor))
}
