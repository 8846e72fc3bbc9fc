//! The task that writes tensors after a version 1 link, rounded to the dtypes that their files have.

use super::chunks::TensorChunks;
use super::past::Past;
use super::reader::Reader;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::job::machine::Io;
use crate::job::report::to_wire;
use crate::job::wire::wire;
use crate::limits::CHUNK_ELEMENTS;
use xxhash_rust::xxh3::Xxh3;

/// Tensors after a version 1 link, to be written.
#[derive(Debug, Default)]
pub struct Round {
    /// The models up to the last link, which is of version 1.
    pub past: Past,
    /// The tensors, and where they go.
    pub outputs: Vec<RoundOutput>,
}
wire!(Round { past, outputs });

/// Where a tensor goes.
#[derive(Debug)]
pub struct RoundOutput {
    /// Its name, for errors.
    pub name: String,
    /// Its number in the last model.
    pub tensor: u32,
    /// Number of the output file.
    pub sink: u32,
    /// Position of its first byte there.
    pub offset: u64,
    /// Its dtype there: its own, or that of the last model that has files.
    pub dtype: Dtype,
}
wire!(RoundOutput {
    name,
    tensor,
    sink,
    offset,
    dtype
});

/// Runs the task; reports the fast hash of each result, or what is wrong with the links.
pub async fn round(io: Io, work: Round) -> Result<Vec<u8>> {
    to_wire(&write(&io, work).await)
}

async fn write(io: &Io, work: Round) -> Result<Vec<u64>> {
    let mut reader = Reader::new(work.past);
    let top = reader.top();
    let mut written = Vec::with_capacity(work.outputs.len());
    for o in work.outputs {
        let (dtype, _) = reader.shape_of(top, o.tensor);
        let step = CHUNK_ELEMENTS as u64 * dtype.bits() / 8;
        let mut chunks = TensorChunks::whole(&reader, top, o.tensor).of_at_most(step);
        let mut put = 0;
        let mut hasher = Xxh3::new();
        while let Some((at, mut bytes)) = chunks.next(io, &mut reader).await.map_err(|e| e.tensor(&o.name))? {
            if dtype != o.dtype {
                bytes = reader.rooted(io, o.tensor, at / 4, &bytes).await?;
            }
            hasher.update(&bytes);
            io.put(o.sink, o.offset + put, &mut bytes).await;
            put += bytes.len() as u64;
        }
        written.push(hasher.digest());
    }
    Ok(written)
}
