//! The index: what is in a file, written after everything else.

use super::malformed;
use super::text::{Flag, Number, Text};
use crate::dtype::Dtype;
use crate::error::{quoted, Code, Error, Result};
use crate::kernels::v2::adaptive::{Coder, Decoder, Encoder};
use crate::limits::{MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_RANK, MAX_TENSORS};

/// A digest of 128 bits: the first half of a BLAKE3 hash.
pub type Digest = [u8; 16];

/// Most blocks of a file: 16 TiB of result at the usual size.
const MAX_BLOCKS: u64 = 1 << 23;

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
    /// From what; none for a stored one.
    pub base: Option<BaseRef>,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Number of its table set, for a delta.
    pub set: u64,
    /// Length of its parameters.
    pub params: u64,
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

/// A block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Its bytes.
    pub len: u64,
    /// How many rows it covers.
    pub rows: u64,
}

/// Everything that a file says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Free texts, such as where the base is to be had.
    pub metadata: Vec<(String, String)>,
    /// Length of each table set.
    pub sets: Vec<u64>,
    /// The files of the result.
    pub files: Vec<FileRecord>,
    /// The tensors of all files.
    pub tensors: Vec<TensorRecord>,
    /// The blocks.
    pub blocks: Vec<Block>,
}

/// The adaptive models of an index.
#[derive(Default)]
struct Models {
    text: Text,
    text_length: Number,
    counts: Number,
    verbatim: Flag,
    renamed: Flag,
    reshaped: Flag,
    op: [Flag; 2],
    head: Number,
    /// Dtypes and shapes that came before, the latest last.
    recent: Vec<(Dtype, Vec<u64>)>,
    recent_at: Number,
    dtype: Number,
    rank: Number,
    dims: [Number; 4],
    set: Number,
    params: Number,
    block_len: Number,
    block_rows: Number,
    /// Bytes of text so far.
    total: u64,
}

/// Both directions in one: what an encoder writes a decoder puts in its place.
struct Pass<'a> {
    coder: &'a mut dyn Coder,
    m: Models,
}

/// How many dtypes and shapes are remembered.
const RECENT: usize = 64;

impl<'a> Pass<'a> {
    fn new(coder: &'a mut dyn Coder) -> Self {
        Self {
            coder,
            m: Models::default(),
        }
    }

    fn bytes(&mut self, bytes: &mut Vec<u8>, most: u64) -> Result<()> {
        let n = self.m.text_length.code(self.coder, bytes.len() as u64);
        self.m.total = self.m.total.saturating_add(n);
        if n > most || self.m.total > MAX_HEADER_BYTES {
            return Err(Error::new(
                Code::Limit,
                format!(
                    "the delta's index has a text of {n} bytes, or texts of more than {MAX_HEADER_BYTES} bytes in all"
                ),
            ));
        }
        match self.m.text.code(self.coder, n, bytes) {
            true => Ok(()),
            false => Err(malformed("a text ends too early")),
        }
    }

    fn string(&mut self, string: &mut String) -> Result<()> {
        let mut bytes = std::mem::take(string).into_bytes();
        self.bytes(&mut bytes, MAX_NAME_BYTES as u64)?;
        *string = String::from_utf8(bytes).map_err(|_| malformed("a text is not UTF-8"))?;
        Ok(())
    }

    /// Codes the number of items and then each of them.
    fn list<T: Default>(
        &mut self,
        items: &mut Vec<T>,
        most: u64,
        each: fn(&mut Self, &mut T) -> Result<()>,
    ) -> Result<()> {
        let n = self.m.counts.code(self.coder, items.len() as u64);
        if n > most {
            return Err(Error::new(
                Code::Limit,
                format!("the delta's index has a list of {n} entries, more than the {most} that are allowed"),
            ));
        }
        for i in 0..n as usize {
            if i >= items.len() {
                items.push(T::default());
            }
            each(self, &mut items[i])?;
            if self.coder.ran_out() {
                return Err(malformed("it ends too early"));
            }
        }
        Ok(())
    }

    fn pair(&mut self, (key, value): &mut (String, String)) -> Result<()> {
        self.string(key)?;
        self.string(value)
    }

    fn file(&mut self, file: &mut FileRecord) -> Result<()> {
        self.string(&mut file.path)?;
        let verbatim = matches!(file.head, Head::Verbatim(_));
        if self.m.verbatim.code(self.coder, verbatim) {
            if !verbatim {
                file.head = Head::Verbatim(Vec::new());
            }
            if let Head::Verbatim(bytes) = &mut file.head {
                self.bytes(bytes, MAX_HEADER_BYTES)?;
            }
        } else if let Head::Written(metadata) = &mut file.head {
            self.list(metadata, MAX_TENSORS as u64, Self::pair)?;
        }
        file.tensors = self.m.head.code(self.coder, file.tensors);
        check_path(&file.path)
    }

    fn shaped(&mut self, dtype: &mut Dtype, shape: &mut Vec<u64>) -> Result<()> {
        let m = &mut self.m;
        let n = m.recent.len();
        let known = m.recent.iter().rposition(|(d, s)| d == dtype && s == shape);
        let at = m.recent_at.code(self.coder, known.map_or(0, |i| (n - i) as u64)) as usize;
        if at > n {
            return Err(malformed("a shape refers to one that was not there"));
        }
        if at > 0 {
            let entry = m.recent.remove(n - at);
            (*dtype, *shape) = entry.clone();
            m.recent.push(entry);
            return Ok(());
        }
        let number = m.dtype.code(self.coder, *dtype as u64);
        *dtype = Dtype::from_number(number as usize).ok_or_else(|| {
            Error::new(
                Code::UnsupportedVersion,
                format!("the delta has a dtype of number {number}, which this wdelta does not know; update wdelta"),
            )
        })?;
        let rank = m.rank.code(self.coder, shape.len() as u64);
        if rank > MAX_RANK as u64 {
            return Err(malformed(format!("a tensor has {rank} dimensions")));
        }
        shape.resize(rank as usize, 0);
        for (i, dim) in shape.iter_mut().enumerate() {
            *dim = m.dims[i.min(3)].code(self.coder, *dim);
        }
        if m.recent.len() == RECENT {
            m.recent.remove(0);
        }
        m.recent.push((*dtype, shape.clone()));
        Ok(())
    }

    fn tensor(&mut self, t: &mut TensorRecord) -> Result<()> {
        self.string(&mut t.name)?;
        self.shaped(&mut t.dtype, &mut t.shape)?;
        t.op = match self.m.op[0].code(self.coder, t.op != Op::Unchanged) {
            false => Op::Unchanged,
            true => match self.m.op[1].code(self.coder, t.op == Op::Stored) {
                true => Op::Stored,
                false => Op::Delta,
            },
        };
        if t.op == Op::Stored {
            t.base = None;
            return Ok(());
        }
        let mut base = t.base.take().unwrap_or_else(|| BaseRef {
            name: t.name.clone(),
            dtype: t.dtype,
            shape: t.shape.clone(),
            digest: [0; 16],
        });
        let given = base.name != t.name;
        if self.m.renamed.code(self.coder, given) {
            if !given {
                base.name.clear();
            }
            self.string(&mut base.name)?;
        }
        let differs = (base.dtype, &base.shape) != (t.dtype, &t.shape);
        if self.m.reshaped.code(self.coder, differs) {
            self.shaped(&mut base.dtype, &mut base.shape)?;
        }
        if t.op == Op::Unchanged && (base.dtype, &base.shape) != (t.dtype, &t.shape) {
            return Err(malformed("an unchanged tensor has another dtype or shape").tensor(&t.name));
        }
        t.base = Some(base);
        if t.op == Op::Delta {
            t.set = self.m.set.code(self.coder, t.set);
            t.params = self.m.params.code(self.coder, t.params);
        }
        Ok(())
    }

    fn block(&mut self, block: &mut Block) -> Result<()> {
        block.len = self.m.block_len.code(self.coder, block.len);
        block.rows = self.m.block_rows.code(self.coder, block.rows);
        Ok(())
    }

    fn set_length(&mut self, len: &mut u64) -> Result<()> {
        *len = self.m.params.code(self.coder, *len);
        Ok(())
    }

    fn index(&mut self, index: &mut Index) -> Result<()> {
        self.list(&mut index.metadata, MAX_TENSORS as u64, Self::pair)?;
        self.list(&mut index.sets, 1 << 16, Self::set_length)?;
        self.list(&mut index.files, MAX_TENSORS as u64, Self::file)?;
        self.list(&mut index.tensors, MAX_TENSORS as u64, Self::tensor)?;
        self.list(&mut index.blocks, MAX_BLOCKS, Self::block)
    }
}

/// A path must stay inside the folder that it is written to.
fn check_path(path: &str) -> Result<()> {
    let inside = !path.contains(['\\', ':', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    match inside {
        true => Ok(()),
        false => Err(malformed(format!(
            "{path} is no path inside a folder",
            path = quoted(path)
        ))),
    }
}

impl Index {
    /// The bytes of the index: length of the coded part, the coded part, the digests.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut coder = Encoder::default();
        Pass::new(&mut coder).index(&mut self.clone())?;
        let coded = coder.finish();
        let mut out = (coded.len() as u64).to_le_bytes().to_vec();
        out.extend_from_slice(&coded);
        for t in &self.tensors {
            if let Some(base) = &t.base {
                out.extend_from_slice(&base.digest);
            }
            if t.op != Op::Unchanged {
                out.extend_from_slice(&t.digest);
            }
        }
        Ok(out)
    }

    /// Reads such bytes. What they say about places is checked by [`super::placed`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let short = || malformed("it is shorter than its parts");
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or_else(short)?;
        let n = u64::from_le_bytes(*head);
        if n > rest.len() as u64 {
            return Err(short());
        }
        let (coded, mut digests) = rest.split_at(n as usize);
        let mut index = Self::default();
        let mut coder = Decoder::new(coded);
        Pass::new(&mut coder).index(&mut index)?;
        if !coder.is_exhausted() {
            return Err(malformed("it is longer than its parts"));
        }
        let mut take = || -> Result<Digest> {
            let (digest, rest) = digests.split_first_chunk::<16>().ok_or_else(short)?;
            digests = rest;
            Ok(*digest)
        };
        for t in &mut index.tensors {
            if let Some(base) = &mut t.base {
                base.digest = take()?;
                t.digest = base.digest;
            }
            if t.op != Op::Unchanged {
                t.digest = take()?;
            }
        }
        match digests.is_empty() {
            true => Ok(index),
            false => Err(malformed("it is longer than its parts")),
        }
    }
}
