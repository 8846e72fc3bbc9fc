//! The tasks of `decode`: tensors are rebuilt or copied, and whole files copied.

use crate::dtype::Dtype;
use crate::error::{Code, Error, Result};
use crate::job::chunks::Chunks;
use crate::job::machine::Io;
use crate::job::report::{to_found, to_wire};
use crate::job::values::{Origin, Values};
use crate::job::wire::wire;
use crate::kernels::convert;
use crate::offset::ByteRange;
use xxhash_rust::xxh3::Xxh3;

/// A tensor to rebuild.
#[derive(Debug, Clone)]
pub struct DecodeItem {
    /// What it is rebuilt from.
    pub origin: Origin,
    /// Number of the sink.
    pub sink: u32,
    /// Where its first byte goes.
    pub offset: u64,
    /// Its dtype there.
    pub dtype: Dtype,
}
wire!(DecodeItem {
    origin,
    sink,
    offset,
    dtype
});

impl DecodeItem {
    /// Bytes that it reads and writes.
    pub fn cost(&self) -> u64 {
        self.origin.cost() + self.dtype.bytes_of(self.origin.base.elements).unwrap_or(0)
    }

    /// True when the base's bytes are the result.
    fn is_copy(&self) -> bool {
        self.origin.is_unchanged() && self.dtype == self.origin.base.dtype
    }
}

/// What rebuilding one tensor reports: fast hashes of what was read and of what was written.
#[derive(Debug)]
pub struct Decoded {
    pub(super) seen: u64,
    pub(super) written: u64,
}
wire!(Decoded { seen, written });

/// Runs the decode task; reports a list of [`Decoded`], or damage.
pub async fn decode_tensors(io: Io, items: Vec<DecodeItem>) -> Result<Vec<u8>> {
    to_found(rebuild(&io, &items).await)
}

async fn rebuild(io: &Io, items: &[DecodeItem]) -> Result<Vec<Decoded>> {
    let mut decoded = Vec::with_capacity(items.len());
    let mut out = Vec::new();
    for item in items {
        decoded.push(if item.is_copy() {
            copy_tensor(io, item, &mut out).await?
        } else {
            rebuild_tensor(io, item, &mut out).await?
        });
    }
    Ok(decoded)
}

async fn copy_tensor(io: &Io, item: &DecodeItem, bytes: &mut Vec<u8>) -> Result<Decoded> {
    let mut chunks = Chunks::new(item.origin.base.source, item.origin.base.range);
    let mut seen = Xxh3::new();
    let mut offset = item.offset;
    while chunks.next(io, bytes).await? {
        seen.update(bytes);
        io.put(item.sink, offset, bytes).await;
        offset += bytes.len() as u64;
    }
    let seen = seen.digest();
    Ok(Decoded { seen, written: seen })
}

async fn rebuild_tensor(io: &Io, item: &DecodeItem, out: &mut Vec<u8>) -> Result<Decoded> {
    let width = item
        .dtype
        .bytes()
        .ok_or_else(|| Error::new(Code::Internal, "a packed dtype cannot be rebuilt"))?;
    let as_base = item.dtype == item.origin.base.dtype;
    let mut values = Values::open(io, &item.origin, None).await?.watching();
    let mut written = Xxh3::new();
    let mut offset = item.offset;
    while values.next_len() > 0 {
        let n = values.load(io, &mut []).await?;
        out.resize(n * width, 0);
        values
            .blocks(io, &mut |block| {
                let to = &mut out[block.at * width..(block.at + block.values.len()) * width];
                if as_base && item.dtype != Dtype::F32 {
                    convert::keep_or_round(item.dtype, block.values, block.base, block.base_bytes, to);
                } else {
                    convert::from_f32(item.dtype, block.values, to);
                }
                Ok(())
            })
            .await?;
        written.update(out);
        io.put(item.sink, offset, out).await;
        offset += out.len() as u64;
    }
    Ok(Decoded {
        seen: values.seen(),
        written: written.digest(),
    })
}

/// Runs the copy task.
pub async fn copy_file(io: Io, source: u32, sink: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunks = Chunks::new(source, ByteRange::new(0, io.size(source))?);
    let mut done = 0;
    while chunks.next(&io, &mut bytes).await? {
        io.put(sink, done, &mut bytes).await;
        done += bytes.len() as u64;
    }
    to_wire(&())
}
