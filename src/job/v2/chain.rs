//! A base and links of either version, opened: what tensors there are after each link, and what they are made of.
//!
//! After a version 1 link tensors are float32; after a version 2 link they have the dtypes that it names. Whether a
//! version 2 link follows another one shows in their indexes, before any tensor is read.

use super::files::{bytes_of, result_model};
use super::open::{open_v2, OpenV2};
use crate::dtype::Dtype;
use crate::error::{shape_text, Code, Error, Result};
use crate::format::model::{Model, Tensor};
use crate::format::v2::BaseRef;
use crate::job::chain::{self, Care};
use crate::job::machine::Io;
use crate::job::open::OpenDelta;
use crate::job::report::{list_names, not_float32};
use std::rc::Rc;

/// A delta that was opened, of either version.
pub enum Link {
    /// Made by `int4`, `sparse` or `quantized`, or by the reference.
    V1(OpenDelta),
    /// Made by `lossless` or `lossy`.
    V2(OpenV2),
}

impl Link {
    /// Number of its source, and that file's length.
    pub fn file(&self) -> (u32, u64) {
        match self {
            Link::V1(delta) => delta.file(),
            Link::V2(delta) => (delta.source, delta.size),
        }
    }

    /// How many tensors it has, and elements in them.
    pub fn size(&self) -> (usize, u64) {
        match self {
            Link::V1(delta) => (delta.tensors.len(), delta.elements()),
            Link::V2(delta) => (delta.index.tensors.len(), delta.elements()),
        }
    }
}

/// Those of the links that are of version 1, in order.
pub fn of_v1(links: &[Rc<Link>]) -> Vec<&OpenDelta> {
    let links = links.iter().filter_map(|link| match &**link {
        Link::V1(delta) => Some(delta),
        Link::V2(_) => None,
    });
    links.collect()
}

/// A link, and the model that it rebuilds.
pub struct Stage {
    /// The delta.
    pub link: Rc<Link>,
    /// The model. Its places are those in the files that `decode` would write, which need not exist.
    pub model: Model,
    /// For each tensor, numbered as the link has them, the number of the one before that it is made of.
    pub(super) before: Vec<Option<usize>>,
    /// Bytes that are read to rebuild each tensor.
    costs: Vec<u64>,
}

/// A base and the links after it.
pub struct Chain {
    /// The model that everyone has.
    pub base: Model,
    /// The links in order, the one after the base first.
    pub stages: Vec<Stage>,
}

/// Opens the delta `source` as the next link after `model`.
pub async fn open_link(io: &Io, source: u32, model: Option<&Model>, care: Care) -> Result<Rc<Link>> {
    if let Some(delta) = open_v2(io, source).await? {
        return Ok(Rc::new(Link::V2(delta)));
    }
    let mut opened = chain::open_chain(io, &[source], model, care).await?;
    Ok(Rc::new(Link::V1(opened.swap_remove(0))))
}

/// Opens deltas as links, whatever each comes after. `any_v2`: one of them is of version 2.
pub async fn open_links(
    io: &Io,
    deltas: &[u32],
    base: Option<&Model>,
    care: Care,
    any_v2: bool,
) -> Result<Vec<Rc<Link>>> {
    if !any_v2 {
        let opened = chain::open_chain(io, deltas, base, care).await?;
        return Ok(opened.into_iter().map(|d| Rc::new(Link::V1(d))).collect());
    }
    let mut links = Vec::with_capacity(deltas.len());
    for &source in deltas {
        links.push(open_link(io, source, base, care).await?);
    }
    Ok(links)
}

impl Chain {
    /// Opens deltas in order after `base` and sees that each fits the model before it.
    pub async fn open(io: &Io, base: Model, deltas: &[u32], care: Care) -> Result<Self> {
        let mut chain = Self {
            base,
            stages: Vec::with_capacity(deltas.len()),
        };
        for &source in deltas {
            let link = open_link(io, source, Some(chain.last()), care).await?;
            chain.push(link)?;
        }
        Ok(chain)
    }

    /// The model after the first `n` links.
    pub fn model(&self, n: usize) -> &Model {
        match n.checked_sub(1) {
            None => &self.base,
            Some(i) => &self.stages[i].model,
        }
    }

    /// The model after all links; the base where there are none.
    pub fn last(&self) -> &Model {
        self.model(self.stages.len())
    }

    /// The last of the first `n` links, which makes the model after them; none where that is the base.
    pub fn link(&self, n: usize) -> Option<&Link> {
        Some(&self.stages.get(n.checked_sub(1)?)?.link)
    }

    /// The last link, if there is one.
    pub fn last_link(&self) -> Option<&Link> {
        self.link(self.stages.len())
    }

    /// How many links come before the version 1 links at the end: what those rebuild is written as this model is.
    pub fn rooted(&self) -> usize {
        let last = self.stages.iter().rposition(|s| matches!(*s.link, Link::V2(_)));
        last.map_or(0, |i| i + 1)
    }

    /// Adds a link; an error when it does not fit what is there.
    pub fn push(&mut self, link: Rc<Link>) -> Result<()> {
        let number = self.stages.len() + 1;
        let (model, before) = match &*link {
            Link::V1(delta) => self.after_v1(delta)?,
            Link::V2(delta) => (result_model(delta)?, self.matched(delta)?),
        };
        let shares = match &*link {
            Link::V1(_) => Vec::new(),
            Link::V2(delta) => delta.placed.shares(),
        };
        let own = |t: usize| match &*link {
            Link::V1(delta) => delta.tensor(&model.tensors[t].name).map_or(0, |d| d.bytes()),
            Link::V2(delta) => shares[delta.origin(t)],
        };
        let costs = before.iter().enumerate().map(|(t, b)| {
            let before = b.map_or(0, |b| self.cost_of(number - 1, b));
            before.saturating_add(own(t))
        });
        let costs = costs.collect();
        self.stages.push(Stage {
            link,
            model,
            before,
            costs,
        });
        Ok(())
    }

    pub(super) fn cost_of(&self, n: usize, tensor: usize) -> u64 {
        match n.checked_sub(1) {
            None => self.base.tensors[tensor].range.len,
            Some(i) => self.stages[i].costs[tensor],
        }
    }

    /// Bytes that are read to rebuild a tensor of the model after `n` links.
    pub fn cost(&self, n: usize, name: &str) -> u64 {
        self.number(n, name).map_or(0, |t| self.cost_of(n, t))
    }

    /// The number under which the model after `n` links has a tensor: that of the index of a version 2 link, else its
    /// place among the sorted names.
    pub(super) fn number(&self, n: usize, name: &str) -> Option<usize> {
        match self.link(n) {
            Some(Link::V2(delta)) => delta.find(name),
            _ => {
                let tensors = &self.model(n).tensors;
                tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok()
            }
        }
    }

    /// The base's tensor of every record of `delta` that has one, as the next link.
    fn matched(&self, delta: &OpenV2) -> Result<Vec<Option<usize>>> {
        let (n, model) = (self.stages.len(), self.last());
        let before = match self.last_link() {
            Some(Link::V2(before)) => Some(before),
            _ => None,
        };
        let (mut missing, mut other) = (Vec::new(), Vec::new());
        let mut bases = Vec::with_capacity(delta.index.tensors.len());
        for t in &delta.index.tensors {
            let Some(wanted) = &t.base else {
                bases.push(None);
                continue;
            };
            let name = wanted.name.as_str();
            let number = self.number(n, name);
            bases.push(number.map(|t| self.origin(n, t)));
            let Some((number, found)) = number.zip(model.find(name)) else {
                missing.push(name);
                continue;
            };
            if (found.dtype, &found.shape) != (wanted.dtype, &wanted.shape) {
                return Err(reshaped(n, wanted, found).source(delta.source));
            }
            if before.is_some_and(|b| b.index.tensors[number].digest != wanted.digest) {
                other.push(name);
            }
        }
        let (names, code, what) = match (missing.is_empty(), other.is_empty()) {
            (true, true) => return Ok(bases),
            (false, _) if n == 0 => (missing, Code::MissingTensor, "lacks"),
            (false, _) => (missing, Code::BrokenChain, "lacks"),
            (true, false) => (other, Code::BrokenChain, "has other values in"),
        };
        let text = format!(
            "{} {what} {} of {} tensors that {} was made against: {}; {}",
            the_model(n),
            names.len(),
            bases.len(),
            this_link(n),
            list_names(&names),
            match n {
                0 => "give the base that the delta names",
                _ => "check the order of the deltas, and whether one is missing in between",
            }
        );
        Err(Error::new(code, text).tensor(names[0]).source(delta.source))
    }

    /// The model after a version 1 link.
    fn after_v1(&self, delta: &OpenDelta) -> Result<(Model, Vec<Option<usize>>)> {
        let (n, before) = (self.stages.len(), self.last());
        chain::check_fit(before, &[delta]).map_err(|mut e| {
            if n > 0 {
                e.code = Code::BrokenChain;
                e.message = format!("{} does not follow link {n}: {}", this_link(n), e.message);
            }
            e
        })?;
        let mut model = before.clone();
        model.tensors.retain(|t| delta.tensor(&t.name).is_some());
        let mut numbers = Vec::with_capacity(model.tensors.len());
        for t in &mut model.tensors {
            numbers.push(self.number(n, &t.name).map(|b| self.origin(n, b)));
            if t.dtype.to_f32_defined() {
                t.dtype = Dtype::F32;
                t.range.len = t.elements.saturating_mul(4);
            } else if delta.tensor(&t.name).is_some_and(|d| !d.is_empty()) {
                return Err(not_float32(&t.name, t.dtype).source(delta.source));
            }
        }
        Ok((model, numbers))
    }

    /// The tensor whose bytes one has, if it is another's copy.
    pub(super) fn origin(&self, n: usize, tensor: usize) -> usize {
        match self.link(n) {
            Some(Link::V2(delta)) => delta.origin(tensor),
            _ => tensor,
        }
    }

    /// Dtype and length of a tensor.
    pub(super) fn form(&self, n: usize, tensor: usize) -> (Dtype, u64) {
        match self.link(n) {
            Some(Link::V2(delta)) => {
                let t = &delta.index.tensors[tensor];
                (t.dtype, bytes_of(t))
            }
            _ => {
                let t = &self.model(n).tensors[tensor];
                (t.dtype, t.range.len)
            }
        }
    }
}

/// The error of a tensor that has another dtype or shape after `n` links than the next one was made against.
fn reshaped(n: usize, wanted: &BaseRef, found: &Tensor) -> Error {
    let code = if n == 0 { Code::WrongBase } else { Code::BrokenChain };
    let text = format!(
        "{} was made against {} of {}, {} has {} of {}",
        this_link(n),
        shape_text(&wanted.shape),
        wanted.dtype.name(),
        the_model(n),
        shape_text(&found.shape),
        found.dtype.name(),
    );
    Error::new(code, text).about(&wanted.name)
}

/// How sentences call the delta that comes after `n` links.
fn this_link(n: usize) -> String {
    match n {
        0 => "the delta".into(),
        n => format!("link {}", n + 1),
    }
}

/// How sentences call the model that `n` links rebuild.
fn the_model(n: usize) -> String {
    match n {
        0 => "the base".into(),
        n => format!("the model that link {n} rebuilds"),
    }
}
