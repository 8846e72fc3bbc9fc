//! Writes the payload of tensors to their places in a version 1 file.

use super::pair::Pair;
use crate::error::{Code, Error, Result};
use crate::format::v1::writer::record_header;
use crate::job::machine::{Io, Write};
use crate::job::placed::TensorRange;
use crate::job::report::to_wire;
use crate::job::v2::past::Past;
use crate::job::v2::reader::Reader;
use crate::job::values::Origin;
use crate::job::wire::wire;
use crate::strategy::{array_elements, Emitter, Loss, Strategy, Surveyed, MAX_FIELDS};

/// Bytes of a field that are gathered before they are written.
const FLUSH_BYTES: usize = 1 << 20;

/// A tensor to write.
#[derive(Debug, Clone)]
pub struct EmitItem {
    /// What the decoder will start from.
    pub origin: Origin,
    /// The tensor of the fine-tune, which it shall give.
    pub finetuned: TensorRange,
    /// Dimensions of base and fine-tune.
    pub shape: Vec<u64>,
    /// How it is stored.
    pub strategy: Strategy,
    /// How many values are kept.
    pub kept: u64,
    /// What the survey found, with the cut that was decided; none writes empty arrays.
    pub surveyed: Option<Surveyed>,
    /// See [`Pair::open`].
    pub keep_equal: bool,
    /// Number of the output file.
    pub sink: u32,
    /// Position of each record's header.
    pub records: Vec<u64>,
}
wire!(EmitItem {
    origin,
    finetuned,
    shape,
    strategy,
    kept,
    surveyed,
    keep_equal,
    sink,
    records
});

impl EmitItem {
    /// Bytes that it reads and writes.
    pub fn cost(&self) -> u64 {
        let read = if self.surveyed.is_some() {
            self.origin.cost() + self.finetuned.range.len
        } else {
            0
        };
        let counts = array_elements(self.strategy, &self.shape, self.kept);
        let fields = self.strategy.fields().iter().zip(counts);
        read + fields.map(|(f, n)| f.dtype.width() as u64 * n).sum::<u64>()
    }
}

/// What writing one tensor reports.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// What the strategy lost.
    pub loss: Loss,
    /// Fast hash of the base's bytes as they were read; none when nothing was.
    pub seen: Option<u64>,
}
wire!(Emitted { loss, seen });

/// Runs the emit task; reports a list of [`Emitted`].
pub async fn emit(io: Io, items: Vec<EmitItem>, past: Past) -> Result<Vec<u8>> {
    let mut reader = Reader::new(past);
    let mut emitted = Vec::with_capacity(items.len());
    for item in &items {
        emitted.push(emit_tensor(&io, item, &mut reader).await?);
    }
    to_wire(&emitted)
}

/// The fields of one tensor on their way to the sink.
struct Fields {
    sink: u32,
    offsets: Vec<u64>,
    buffers: [Vec<u8>; MAX_FIELDS],
}

impl Fields {
    async fn flush(&mut self, io: &Io, at_least: usize) {
        let due = |b: &Vec<u8>| b.len() >= at_least.max(1);
        if !self.buffers.iter().any(due) {
            return;
        }
        let mut writes: Vec<_> = self
            .buffers
            .iter_mut()
            .zip(&self.offsets)
            .filter(|(b, _)| due(b))
            .map(|(buf, &offset)| Write {
                sink: self.sink,
                offset,
                buf,
            })
            .collect();
        io.write(&mut writes).await;
        for (buffer, offset) in self.buffers.iter_mut().zip(&mut self.offsets) {
            if due(buffer) {
                *offset += buffer.len() as u64;
                buffer.clear();
            }
        }
    }
}

async fn emit_tensor(io: &Io, item: &EmitItem, reader: &mut Reader) -> Result<Emitted> {
    let counts = array_elements(item.strategy, &item.shape, item.kept);
    let mut fields = Fields {
        sink: item.sink,
        offsets: item.records.clone(),
        buffers: Default::default(),
    };
    let mut expected_end = Vec::new();
    for (i, field) in item.strategy.fields().iter().enumerate() {
        let header = record_header(&item.origin.name, field.name, field.dtype, counts[i]);
        expected_end.push(item.records[i] + header.len() as u64 + counts[i] * field.dtype.width() as u64);
        fields.buffers[i] = header;
    }
    let mut emitted = Emitted {
        loss: Loss::default(),
        seen: None,
    };
    if let Some(surveyed) = &item.surveyed {
        let mut emitter = Emitter::new(item.strategy, &item.shape, item.kept, surveyed);
        let pair = Pair::open(io, &item.origin, &item.finetuned, item.keep_equal, reader).await?;
        let mut pair = pair.watching();
        let feed = |fields: &mut Fields, emitter: &mut Emitter, delta: &[f32]| emitter.feed(delta, &mut fields.buffers);
        loop {
            let more = pair
                .next(io, &mut |block| {
                    feed(&mut fields, &mut emitter, block.delta);
                    Ok(())
                })
                .await?;
            if !more {
                break;
            }
            fields.flush(io, FLUSH_BYTES).await;
        }
        // It fails when fewer values came than the survey counted.
        emitter.finish(&mut fields.buffers).map_err(|_| changed(item))?;
        emitted = Emitted {
            loss: emitter.loss(),
            seen: Some(pair.seen()),
        };
    }
    fields.flush(io, 0).await;
    // The survey and this pass must have seen the same bytes, or the records do not fill their places.
    if fields.offsets.iter().zip(&expected_end).any(|(at, end)| at != end) {
        return Err(changed(item));
    }
    Ok(emitted)
}

fn changed(item: &EmitItem) -> Error {
    Error::new(
        Code::SourceChanged,
        "its values changed while they were read; close whatever writes to the models and run again",
    )
    .about(&item.origin.name)
}
