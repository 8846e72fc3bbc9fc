//! A base and the deltas on it: do they fit, and is each link what the next one was made against?

use super::hashing::{self, ModelHash};
use super::machine::{Io, TaskSpec};
use super::open::{open_delta, OpenDelta, Placement};
use super::placed::TensorRange;
use super::report::{from_wire, hex, list_names};
use super::values::Origin;
use crate::error::{quoted, shape_text, Code, Error, Result};
use crate::format::model::Model;
use crate::format::v1::parent_hash;
use crate::format::v1::CHECKSUM_BYTES;
use serde::Serialize;

/// How carefully the records of a delta are located.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// A few record headers now, the others when their tensor is read; no checksum.
    Sampled,
    /// Every record header; a damaged file is told by its checksum.
    Checked,
    /// Every record visited, none predicted; a damaged file is told by its checksum.
    Walked,
}

/// Opens the deltas of a chain, in order. With a base, its shard layout helps to predict where records lie.
pub async fn open_chain(io: &Io, deltas: &[u32], base: Option<&Model>, care: Care) -> Result<Vec<OpenDelta>> {
    let mut opened = Vec::with_capacity(deltas.len());
    for &source in deltas {
        let groups = base.map(|b| b.shard_groups());
        let orders: Vec<Vec<String>> = groups.into_iter().collect();
        let placement = match care {
            Care::Sampled => Placement::Sample(&orders),
            Care::Checked => Placement::Predict(&orders),
            Care::Walked => Placement::Walk,
        };
        match open_delta(io, source, placement).await {
            Ok(delta) => opened.push(delta),
            Err(e) => return Err(blame_damage(io, source, e, care).await),
        }
    }
    Ok(opened)
}

/// The checksum of a file that does not parse, if that is what is wrong with it: damage is the cause and the rest its
/// consequence. A file too short for a checksum counts as damaged, as in the reference.
async fn blame_damage(io: &Io, source: u32, error: Error, care: Care) -> Error {
    let size = io.size(source);
    let of_the_file = match error.code {
        // Another kind of file has no checksum of ours; an empty one lacks it.
        Code::NotWdelta => size == 0,
        Code::Io | Code::Aborted | Code::Internal | Code::Usage => false,
        _ => true,
    };
    if care == Care::Sampled || !of_the_file {
        return error;
    }
    if size < CHECKSUM_BYTES {
        let text = format!(
            "the file is damaged: its {size} bytes are too few to hold the checksum at its end; get the delta again"
        );
        return Error::new(Code::Checksum, text).source(source);
    }
    let checked = async {
        let reports = io.run(vec![checksum_task((source, size))?]).await?;
        judge_checksums(io, &[(source, size)], &reports).await
    };
    match checked.await {
        Ok(()) => error,
        Err(mut other) => {
            if other.code == Code::Checksum {
                other.message = format!("{} ({})", other.message, error.message);
            }
            other
        }
    }
}

/// As [`check_fit`]; where something does not fit, the checksum of the delta concerned is looked at first.
pub async fn check_fit_or_damage(io: &Io, base: &Model, deltas: &[&OpenDelta]) -> Result<()> {
    match check_fit(base, deltas) {
        Err(e) => match e.source_id {
            Some(source) => Err(blame_damage(io, source, e, Care::Checked).await),
            None => Err(e),
        },
        Ok(()) => Ok(()),
    }
}

/// Compares names and shapes of base and chain before anything is read or written: `MISSING_TENSOR`, `SHAPE_MISMATCH`, and
/// `BROKEN_CHAIN` where the deltas do not have the same tensors.
pub fn check_fit(base: &Model, deltas: &[&OpenDelta]) -> Result<()> {
    for (link, delta) in deltas.iter().enumerate() {
        check_names(base, delta)?;
        check_shapes(base, delta)?;
        check_same_tensors(deltas[0], delta, link)?;
    }
    Ok(())
}

fn check_names(base: &Model, delta: &OpenDelta) -> Result<()> {
    let names = delta.header.tensors.iter().map(|t| t.name.as_str());
    let missing: Vec<&str> = names.filter(|n| base.find(n).is_none()).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    Err(Error::new(
        Code::MissingTensor,
        format!(
            "the base lacks {} of the delta's {} tensors: {}{}; is this the base it was made from?",
            missing.len(),
            delta.header.tensors.len(),
            list_names(&missing),
            base_hint(delta),
        ),
    )
    .tensor(*first)
    .source(delta.source))
}

fn check_shapes(base: &Model, delta: &OpenDelta) -> Result<()> {
    for t in &delta.header.tensors {
        let Some(of_base) = base.find(&t.name).filter(|b| b.shape != t.shape) else {
            continue;
        };
        return Err(Error::new(
            Code::ShapeMismatch,
            format!(
                "the base has {}, the delta {}; is this the base it was made from?{}",
                shape_text(&of_base.shape),
                shape_text(&t.shape),
                base_hint(delta),
            ),
        )
        .about(&t.name)
        .source(delta.source));
    }
    Ok(())
}

/// `link`: number of the second of the deltas, from 0.
fn check_same_tensors(first: &OpenDelta, delta: &OpenDelta, link: usize) -> Result<()> {
    let lacks = |a: &OpenDelta, b: &OpenDelta| {
        let mut names = b.header.tensors.iter().map(|t| &t.name);
        names.find(|name| a.tensor(name).is_none()).cloned()
    };
    let Some(name) = lacks(first, delta).or_else(|| lacks(delta, first)) else {
        return Ok(());
    };
    Err(Error::new(
        Code::BrokenChain,
        format!(
            "it is in one delta of the chain and not in the other, link {}; these deltas do not belong together",
            link + 1
        ),
    )
    .about(&name)
    .source(delta.source))
}

fn base_hint(delta: &OpenDelta) -> String {
    match &delta.header.base_name {
        Some(name) => format!(" (the delta says its base is {name})", name = quoted(name)),
        None => String::new(),
    }
}

/// What each tensor of the chain is rebuilt from after all links; in sorted order.
pub fn origins(base: &Model, deltas: &[&OpenDelta]) -> Vec<Origin> {
    let of_first = |name: &str| deltas.first().is_none_or(|d| d.tensor(name).is_some());
    base.tensors
        .iter()
        .filter(|t| of_first(&t.name))
        .map(|t| Origin {
            name: t.name.clone(),
            base: TensorRange::from(t),
            deltas: deltas.iter().filter_map(|d| d.tensor(&t.name).cloned()).collect(),
            past: None,
        })
        .collect()
}

/// The origin of a tensor among those that [`origins`] gave.
pub fn find_origin<'a>(origins: &'a [Origin], name: &str) -> Option<&'a Origin> {
    origins
        .binary_search_by(|o| o.name.as_str().cmp(name))
        .ok()
        .map(|i| &origins[i])
}

/// An order of names in which a base may have been hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By name, as the reference's loader in memory has it.
    Sorted,
    /// Sorted names grouped by base shard.
    Grouped,
    /// The order of the file's records.
    Records,
}

/// The distinct orders in which the base may have been hashed for `delta` (`format::v1` 6), likeliest first.
pub fn candidate_orders(base: &Model, delta: &OpenDelta) -> Vec<(Order, Vec<String>)> {
    let sorted: Vec<String> = base
        .tensors
        .iter()
        .map(|t| &t.name)
        .filter(|n| delta.tensor(n).is_some())
        .cloned()
        .collect();
    let shard_of = |name: &str| base.find(name).map_or(0, |t| t.file);
    let grouped = parent_hash::shard_groups(&sorted, shard_of);
    let mut orders = vec![(Order::Sorted, sorted)];
    for (order, names) in [(Order::Grouped, grouped), (Order::Records, delta.record_order.clone())] {
        let complete = names.len() == orders[0].1.len();
        if complete && orders.iter().all(|(_, known)| *known != names) {
            orders.push((order, names));
        }
    }
    orders
}

/// The tensors of `names` with their places in `base`.
pub fn ranges(base: &Model, names: &[String]) -> Vec<(String, TensorRange)> {
    names
        .iter()
        .filter_map(|n| base.find(n).map(|t| (n.clone(), TensorRange::from(t))))
        .collect()
}

/// The checks of a chain as tasks, and how to read their reports.
pub struct ChainCheck<'a> {
    orders: Vec<(Order, Vec<String>)>,
    deltas: &'a [&'a OpenDelta],
    tasks: Vec<TaskSpec>,
}

/// A link that holds, for reports.
#[derive(Clone, Debug, Serialize)]
pub struct CheckedLink {
    /// Number of the delta, from 0.
    pub index: usize,
    /// The hash, in hex, that it names of the model before it.
    pub expected: String,
    /// The order in which the base gives that hash.
    pub order: Order,
    /// Whether that hash was compared with the model's.
    pub verified: bool,
}

/// What [`ChainCheck::finish`] found.
pub struct ChainResult {
    /// One entry a delta, in order.
    pub links: Vec<CheckedLink>,
    /// Fast hash of each base tensor while it was hashed, by sorted names.
    fast: Vec<(String, u64)>,
}

impl ChainResult {
    /// The fast hash that a tensor of the base had while it was hashed.
    pub fn fast_of(&self, name: &str) -> Option<u64> {
        let at = self.fast.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(self.fast[at].1)
    }
}

impl<'a> ChainCheck<'a> {
    /// Hashes the base in every order that can matter and the model after each link but the last, and every file.
    pub fn new(base: &Model, deltas: &'a [&'a OpenDelta]) -> Result<Self> {
        let Some(first) = deltas.first() else {
            return Ok(Self {
                orders: Vec::new(),
                deltas,
                tasks: Vec::new(),
            });
        };
        let orders = candidate_orders(base, first);
        let mut tasks = Vec::new();
        for (_, names) in &orders {
            tasks.push(hashing::model_task("base", ranges(base, names))?);
        }
        if deltas.len() > 1 {
            let links = (1..deltas.len()).collect();
            tasks.push(hashing::values_task(
                "chain",
                origins(base, &deltas[..deltas.len() - 1]),
                links,
            )?);
        }
        for delta in deltas {
            tasks.push(checksum_task(delta.file())?);
        }
        Ok(Self { orders, deltas, tasks })
    }

    /// The tasks; their reports go to [`ChainCheck::finish`].
    pub fn take_tasks(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.tasks)
    }

    /// Judges the reports. On the first thing that does not hold the error names the link.
    pub async fn finish(&self, io: &Io, reports: &[Vec<u8>]) -> Result<ChainResult> {
        let mut result = ChainResult {
            links: Vec::new(),
            fast: Vec::new(),
        };
        let Some(first) = self.deltas.first() else {
            return Ok(result);
        };
        let (of_base, rest) = reports.split_at(self.orders.len().min(reports.len()));
        let (of_links, of_files) = rest.split_at(usize::from(self.deltas.len() > 1).min(rest.len()));
        let files: Vec<_> = self.deltas.iter().map(|d| d.file()).collect();
        judge_checksums(io, &files, of_files).await?;
        let hashes = of_base
            .iter()
            .map(|r| from_wire::<ModelHash>(r))
            .collect::<Result<Vec<_>>>()?;
        if let (Some(hash), Some((_, names))) = (hashes.first(), self.orders.first()) {
            result.fast = names.iter().cloned().zip(hash.fast.iter().copied()).collect();
        }
        let expected = &first.header.parent_hash;
        let Some(matching) = hashes.iter().position(|h| h.sha256 == *expected) else {
            return Err(wrong_base(first, hashes.first().map_or("", |h| &h.sha256)));
        };
        let order = self.orders[matching].0;
        result.links.push(CheckedLink {
            index: 0,
            expected: expected.clone(),
            order,
            verified: true,
        });
        let found: Vec<String> = of_links.first().map_or(Ok(Vec::new()), |r| from_wire(r))?;
        for (i, delta) in self.deltas.iter().enumerate().skip(1) {
            let found = found.get(i - 1).map_or("", String::as_str);
            if delta.header.parent_hash != found {
                return Err(broken_chain(delta, i, found));
            }
            result.links.push(CheckedLink {
                index: i,
                expected: delta.header.parent_hash.clone(),
                order: Order::Sorted,
                verified: true,
            });
        }
        Ok(result)
    }
}

/// Twelve digits of a hash, enough to tell two apart.
pub fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// The error of a base that gives another hash than the delta names.
pub fn wrong_base(delta: &OpenDelta, found: &str) -> Error {
    Error::new(
        Code::WrongBase,
        format!(
            "this is not the base that the delta was made against: it names hash {}, this model has {}{}. Names and shapes fit, so it is probably another revision or fine-tune of the same model, or the same model in another dtype",
            short(&delta.header.parent_hash),
            short(found),
            base_hint(delta),
        ),
    )
    .source(delta.source)
}

/// The error of a delta after `before` links that names another hash than what these rebuild has.
pub fn broken_chain(delta: &OpenDelta, before: usize, found: &str) -> Error {
    Error::new(
        Code::BrokenChain,
        format!(
            "link {} does not follow link {before}: it was made against a model with hash {}, but link {before} rebuilds {}; check the order of the deltas, and whether one is missing in between",
            before + 1,
            short(&delta.header.parent_hash),
            short(found),
        ),
    )
    .source(delta.source)
}

/// Hashes everything before the checksum of a delta, given as its source and size.
pub fn checksum_task((source, size): (u32, u64)) -> Result<TaskSpec> {
    hashing::file_task("delta", source, size - CHECKSUM_BYTES)
}

/// Compares reports of [`checksum_task`] with the checksums at the ends of these files.
pub async fn judge_checksums(io: &Io, files: &[(u32, u64)], reports: &[Vec<u8>]) -> Result<()> {
    for (&(source, size), report) in files.iter().zip(reports) {
        let end = size - CHECKSUM_BYTES;
        let found: [u8; 32] = from_wire(report)?;
        let stored = io.read_vec(source, end, CHECKSUM_BYTES as usize).await?;
        if stored != found {
            let text = format!(
                "the file is damaged: its checksum says {}, its bytes give {}; get the delta again",
                short(&hex(&stored)),
                short(&hex(&found))
            );
            return Err(Error::new(Code::Checksum, text).at(end).source(source));
        }
    }
    Ok(())
}
