//! The index: what is in a file, written after everything else.

use super::malformed;
pub use super::records::{BaseRef, Block, Digest, Dithered, FileRecord, Head, Index, Lost, Op, TensorRecord};
use super::text::{Flag, Number, Text};
use crate::dtype::Dtype;
use crate::error::{quoted, Code, Error, Result};
use crate::kernels::v2::adaptive::{Coder, Decoder, Encoder};
use crate::kernels::v2::dither::can_dither;
use crate::kernels::v2::element::Layout;
use crate::limits::{MAX_BLOCKS, MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_RANK, MAX_SETS, MAX_TENSORS};
use crate::order::sorted_positions;

/// The adaptive models of an index.
#[derive(Default)]
struct Models {
    text: Text,
    text_length: Number,
    counts: Number,
    verbatim: Flag,
    renamed: Flag,
    reshaped: Flag,
    op: [Flag; 3],
    back: Number,
    head: Number,
    /// Dtypes and shapes that came before, the latest last.
    recent: Vec<(Dtype, Vec<u64>)>,
    recent_at: Number,
    dtype: Number,
    rank: Number,
    dims: [Number; 4],
    set: Number,
    params: Number,
    dithered: Flag,
    step: Number,
    seed: Number,
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
        Ok(())
    }

    fn shaped(&mut self, dtype: &mut Dtype, shape: &mut Vec<u64>) -> Result<()> {
        let m = &mut self.m;
        let n = m.recent.len();
        let known = m.recent.iter().rposition(|(d, s)| d == dtype && s == shape);
        let at = m.recent_at.code(self.coder, known.map_or(0, |i| (n - i) as u64));
        if at > n as u64 {
            return Err(malformed("a shape refers to one that was not there"));
        }
        if at > 0 {
            let entry = m.recent.remove(n - at as usize);
            (*dtype, *shape) = entry.clone();
            m.recent.push(entry);
            return Ok(());
        }
        let number = m.dtype.code(self.coder, *dtype as u64);
        *dtype = usize::try_from(number)
            .ok()
            .and_then(Dtype::from_number)
            .ok_or_else(|| {
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

    fn op(&mut self, op: Op) -> Op {
        let m = &mut self.m;
        if !m.op[0].code(self.coder, op != Op::Unchanged) {
            Op::Unchanged
        } else if !m.op[1].code(self.coder, op != Op::Delta) {
            Op::Delta
        } else if !m.op[2].code(self.coder, op.is_tied()) {
            Op::Stored
        } else {
            let back = if let Op::Tied { back } = op { back } else { 0 };
            Op::Tied {
                back: m.back.code(self.coder, back),
            }
        }
    }

    fn tensor(&mut self, t: &mut TensorRecord) -> Result<()> {
        self.string(&mut t.name)?;
        self.shaped(&mut t.dtype, &mut t.shape)?;
        t.op = self.op(t.op);
        if matches!(t.op, Op::Stored | Op::Tied { .. }) {
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
            if can_dither(Layout::of(t.dtype)) && self.m.dithered.code(self.coder, t.dithered.is_some()) {
                let d = t.dithered.get_or_insert_default();
                let step = self.m.step.code(self.coder, d.step as u64);
                d.step = u8::try_from(step).map_err(|_| malformed(format!("a tensor has a step of number {step}")))?;
                d.seed = self.m.seed.code(self.coder, d.seed);
            }
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
        self.list(&mut index.sets, MAX_SETS, Self::set_length)?;
        self.list(&mut index.files, MAX_TENSORS as u64, Self::file)?;
        check_paths(&index.files).map_err(malformed)?;
        self.list(&mut index.tensors, MAX_TENSORS as u64, Self::tensor)?;
        self.list(&mut index.blocks, MAX_BLOCKS, Self::block)
    }
}

fn short() -> Error {
    malformed("it is shorter than its parts")
}

/// Takes so many bytes from the front.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    *bytes = rest;
    Ok(head)
}

/// Says what is wrong with paths: each must stay inside the folder that it is written to, and be none that another has, or
/// has as its folder.
pub fn check_paths(files: &[FileRecord]) -> std::result::Result<(), String> {
    let path = |i: usize| files[i].path.as_str();
    let order = sorted_positions(files.len(), &|a, b| path(a).cmp(path(b)));
    let mut before = None;
    for &i in &order {
        let path_of = path;
        let path = path(i);
        let quoted = || quoted(path);
        if path.contains(['\\', ':', '\0']) || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("{} is no path inside a folder", quoted()));
        }
        let folders = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        let is_file = |folder: &str| order.binary_search_by(|&o| path_of(o).cmp(folder)).is_ok();
        if before.replace(path) == Some(path) || folders.into_iter().any(is_file) {
            return Err(format!("{} is a path that another file has, or is in", quoted()));
        }
    }
    Ok(())
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
            if !matches!(t.op, Op::Unchanged | Op::Tied { .. }) {
                out.extend_from_slice(&t.digest);
            }
            for value in t.dithered.iter().flat_map(|d| d.lost.0) {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        self.digests.iter().for_each(|d| out.extend_from_slice(d));
        Ok(out)
    }

    /// Reads such bytes. What they say about places is checked by [`super::placed`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
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
        for i in 0..index.tensors.len() {
            let (earlier, rest) = index.tensors.split_at_mut(i);
            let t = &mut rest[0];
            if let Some(base) = &mut t.base {
                base.digest = *take(&mut digests)?;
                t.digest = base.digest;
            }
            match t.op {
                Op::Unchanged => {}
                Op::Tied { back } => {
                    let original = (i as u64).checked_sub(back).and_then(|at| earlier.get(at as usize));
                    let same = |o: &&TensorRecord| !o.op.is_tied() && (o.dtype, &o.shape) == (t.dtype, &t.shape);
                    let none = || malformed("a tensor is tied to none that it can be tied to").tensor(&t.name);
                    t.digest = original.filter(same).ok_or_else(none)?.digest;
                }
                Op::Delta | Op::Stored => t.digest = *take(&mut digests)?,
            }
            if let Some(d) = &mut t.dithered {
                for value in &mut d.lost.0 {
                    *value = u16::from_le_bytes(*take(&mut digests)?);
                }
            }
        }
        if !digests.is_empty() {
            for _ in &index.files {
                index.digests.push(*take(&mut digests)?);
            }
        }
        match digests.is_empty() {
            true => Ok(index),
            false => Err(malformed("it is longer than its parts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_and_apart() {
        let fault = |paths: &[&str]| {
            let file = |&path: &&str| FileRecord {
                path: path.into(),
                ..FileRecord::default()
            };
            check_paths(&paths.iter().map(file).collect::<Vec<_>>()).err()
        };
        assert_eq!(fault(&[]), None);
        assert_eq!(fault(&["b/c", "a", "a-b/c", "a.b", "b/d/e", "ä/ö"]), None);
        for outside in ["", "/a", "a/", "a//b", "../a", "a/./b", "c:a", "a\\b", "a\0"] {
            let fault = fault(&["z", outside]).unwrap();
            assert!(fault.ends_with("is no path inside a folder"), "{fault}");
        }
        // Between `a` and `a/b` others may sort.
        for twice in [&["a", "b", "a"][..], &["a/b", "a", "a-b"], &["x/y/z/a", "q", "x/y"]] {
            let fault = fault(twice).unwrap();
            assert!(fault.ends_with("is a path that another file has, or is in"), "{fault}");
        }
    }

    #[test]
    fn a_number_that_32_bits_would_cut_is_no_dtype() {
        assert!(Dtype::from_number(13).is_some());
        let mut coder = Encoder::default();
        let mut models = Models::default();
        models.recent_at.code(&mut coder, 0);
        models.dtype.code(&mut coder, (1 << 32) + 13);
        let bytes = coder.finish();
        let mut coder = Decoder::new(&bytes);
        let e = Pass::new(&mut coder)
            .shaped(&mut Dtype::F32, &mut Vec::new())
            .unwrap_err();
        assert!(
            e.code == Code::UnsupportedVersion && e.message.contains("4294967309"),
            "{e}"
        );
    }
}
