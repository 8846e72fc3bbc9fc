//! What an index lists: files, tensors, blocks.

use crate::dtype::Dtype;
use crate::kernels::float16::{bf16_to_f32, f32_to_bf16};
use crate::kernels::v2::dither::Dither;

/// A digest of 128 bits: the first half of a BLAKE3 hash.
pub type Digest = [u8; 16];

/// How a tensor is rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Op {
    /// It is the base's tensor.
    #[default]
    Unchanged,
    /// Coded against the base's tensor; elements that the base lacks are stored.
    Delta,
    /// Stored by itself.
    Stored,
    /// The same as a tensor that came before, of the same dtype and shape: tied weights.
    Tied {
        /// How many tensors back that one is, which is not tied itself.
        back: u64,
    },
}

impl Op {
    /// Whether it is the same as another tensor.
    pub fn is_tied(self) -> bool {
        matches!(self, Op::Tied { .. })
    }
}

/// The tensor of the base that one is rebuilt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRef {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// A tensor of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRecord {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// How it is rebuilt.
    pub op: Op,
    /// From what; none for a stored or tied one.
    pub base: Option<BaseRef>,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Number of its table set, for a delta.
    pub set: u64,
    /// Length of its parameters in bytes; 0 where it has none.
    pub params: u64,
    /// How it is dithered, if it is.
    pub dithered: Option<Dithered>,
}

impl TensorRecord {
    /// The word that reports have for how it is rebuilt.
    pub fn op_name(&self) -> &'static str {
        match self.op {
            Op::Unchanged => "unchanged",
            Op::Delta if self.dithered.is_some() => "dithered",
            Op::Delta => "delta",
            Op::Stored => "stored",
            Op::Tied { .. } => "tied",
        }
    }
}

/// How a delta is dithered, and what that loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dithered {
    /// Its step, in eighths of an octave.
    pub step: u8,
    /// Seed of its levels.
    pub seed: u64,
    /// What was lost.
    pub lost: Lost,
}

impl Dithered {
    /// How its rows are coded.
    pub fn dither(self) -> Dither {
        Dither {
            step: self.step,
            seed: self.seed,
        }
    }
}

/// What was lost of a tensor, as upper halves of float32: `d` is the change from base to fine-tune, `e` the error from
/// fine-tune to what is rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost(pub [u16; 4]);

impl Lost {
    /// Rounds `[sum of e d, norm of e, norm of d, largest e]`.
    pub fn new(values: [f64; 4]) -> Self {
        Self(values.map(|v| f32_to_bf16(v as f32)))
    }

    /// The numbers of [`Lost::new`], to 8 significant bits; the largest there is for one beyond it, as the product of huge
    /// weights' changes and errors can be.
    pub fn values(self) -> [f64; 4] {
        let finite = |b: u16| if b & 0x7F80 == 0x7F80 { b & 0x8000 | 0x7F7F } else { b };
        self.0.map(|b| bf16_to_f32(finite(b)) as f64)
    }

    /// Norm of the error over norm of the change; 0 where nothing changed.
    pub fn relative_error(self) -> f64 {
        match self.values() {
            [_, e, d, _] if d > 0.0 => e / d,
            _ => 0.0,
        }
    }
}

impl Default for TensorRecord {
    fn default() -> Self {
        Self {
            name: String::new(),
            dtype: Dtype::U8,
            shape: Vec::new(),
            op: Op::Stored,
            base: None,
            digest: [0; 16],
            set: 0,
            params: 0,
            dithered: None,
        }
    }
}

/// A file of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRecord {
    /// Its path.
    pub path: String,
    /// What it starts with.
    pub head: Head,
    /// How many tensors follow: the next ones of the index, in the order of their bytes.
    pub tensors: u64,
}

/// The bytes of a file before its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// The header that follows from its tensors, with these metadata.
    Written(Vec<(String, String)>),
    /// These bytes: an unusual header, or a whole file that is not safetensors.
    Verbatim(Vec<u8>),
}

impl Default for Head {
    fn default() -> Self {
        Head::Written(Vec::new())
    }
}

/// A block: rows of one tensor or of several, in the order of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Its length in bytes, checksum included.
    pub len: u64,
    /// How many rows it covers.
    pub rows: u64,
}

/// Everything that a file says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Free texts, such as where the base is to be had.
    pub metadata: Vec<(String, String)>,
    /// Length of each table set in bytes.
    pub sets: Vec<u64>,
    /// The files of the result.
    pub files: Vec<FileRecord>,
    /// The tensors of all files.
    pub tensors: Vec<TensorRecord>,
    /// The blocks, in the order in which they lie in the file.
    pub blocks: Vec<Block>,
    /// The digest of each file: of its path, the bytes before its tensors, and the tensors' digests. Empty in a delta
    /// that does not give them.
    pub digests: Vec<Digest>,
}
