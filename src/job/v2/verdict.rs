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
            error = another(level);
        }
    }
    Ok(Some(error))
}

/// The error of what is read of the last model and cannot be decoded, or comes out wrong: another base, if that is the
/// cause. A block codes several tensors, and another base of one of them spoils all.
pub async fn blame(io: &Io, reader: &mut Reader, error: Error) -> Error {
    for level in 0..reader.top() {
        for tensor in 0..reader.levels()[level].count() as u32 {
            if let Ok(false) = reader.is_expected(io, level, tensor).await {
                return another(level);
            }
        }
    }
    error
}

/// The error when model `level` is not the one that the link after it was made against.
fn another(level: usize) -> Error {
    match level {
        0 => Error::new(
            Code::WrongBase,
            "the base is not the one that the delta was made against; give the delta's own base, or with this one the \
             deltas before it",
        ),
        _ => Error::new(
            Code::BrokenChain,
            format!(
                "link {level} rebuilds another model than link {} was made against",
                level + 1
            ),
        ),
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
