//! The step machine: a job or task as straight-line code that never blocks and never sees a file.
//!
//! A [`Machine`] wraps an `async` function. There is no executor: [`Machine::step`] polls the function once, and
//! whenever it wants bytes, has bytes, wants a digest or wants tasks to be run, it parks its wish in a mailbox that
//! it shares with the machine and stays pending until the host has answered. So the compiler writes the state
//! machine, and the same code runs over a file, a Blob, an HTTP range or a test source that fails on purpose.
//!
//! Buffers move into the mailbox while the host fills or empties them and move back afterwards; nothing is copied.

use super::buffers;
use crate::error::{Code, Error, Result};
use serde::Serialize;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A file that the host has opened for reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    /// What the caller gave it as.
    pub role: Role,
    /// Which argument of that role it belongs to: the number of the delta in a chain, 0 for a model.
    pub group: u32,
    /// Path inside the folder that was given, or the file's own name; with `/` between folders.
    pub path: String,
    /// Length in bytes when it was opened.
    pub size: u64,
}

/// What a source is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The model that everyone has.
    Base,
    /// The model that is to be stored.
    Finetuned,
    /// A `.wdelta` file; `group` is its place in the chain.
    Delta,
    /// The first of two things to compare.
    A,
    /// The second of two things to compare.
    B,
}

impl Role {
    /// The host's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Base => "base",
            Role::Finetuned => "finetuned",
            Role::Delta => "delta",
            Role::A => "a",
            Role::B => "b",
        }
    }
}

/// `len` bytes at `offset` of source or sink `file`, from or into buffer `buf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Number of the source (in `Need`) or sink (in `Ready`).
    pub file: u32,
    /// Position in the file.
    pub offset: u64,
    /// Number of bytes, never 0.
    pub len: usize,
    /// Which of the machine's buffers ([`Machine::with_buffer`]).
    pub buf: usize,
}

/// An output that is to be created, under a temporary name until the job is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputFile {
    /// Name relative to the output folder; empty when the job writes the one file that the caller named.
    pub path: String,
    /// Final length in bytes, or a bound that [`Step::Resize`] corrects.
    pub size: u64,
}

/// A unit of work that any worker can run: nothing but data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskSpec {
    /// For progress: the tensor or file it is about.
    pub label: String,
    /// For progress: `hashing`, `reading`, `encoding`, `decoding`, `checking`, `copying`.
    pub phase: String,
    /// Bytes that it reads and writes.
    pub cost: u64,
    /// What to do; only the core reads it.
    #[serde(serialize_with = "as_bytes")]
    pub spec: Vec<u8>,
}

/// Serializes as one run of bytes.
pub fn as_bytes<S: serde::Serializer>(bytes: &[u8], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// What the machine wants next.
#[allow(missing_docs)] // each variant says what its fields are
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Fill these ranges from sources, then step again.
    Need(Vec<Transfer>),
    /// Write these ranges to sinks, then step again.
    Ready(Vec<Transfer>),
    /// Feed buffer `buf` to the SHA-256 of each lane in `lanes`, then step again.
    Hash { lanes: Vec<u32>, buf: usize },
    /// Give the SHA-256 of `lane` to [`Machine::put_digest`], then step again.
    Digest { lane: u32 },
    /// What will be done, before any of it: the JSON that `plan` returns. Step again to go on.
    Plan(String),
    /// Create these outputs, numbered from 0 in order, then step again.
    Create(Vec<OutputFile>),
    /// Make sink `file` this long: it was created with a length that it was only known not to exceed.
    Resize { file: u32, size: u64 },
    /// Begin a round of tasks: run them in any order on any number of workers, and step again without waiting for them.
    Start(Vec<TaskSpec>),
    /// Wait for the oldest round that was not collected yet, give the reports in the order of its tasks to
    /// [`Machine::put_reports`], then step again.
    Collect,
    /// An item of a streamed result: JSON that describes it, and a buffer with its bytes, if it has any.
    Item { json: String, buf: Option<usize> },
    /// Finished, with the report: JSON of a job; of a task, what only the core reads.
    Done(Vec<u8>),
}

#[derive(Default)]
struct Mailbox {
    sizes: Vec<u64>,
    bufs: Vec<Vec<u8>>,
    wish: Option<Step>,
    digest: Option<[u8; 32]>,
    reports: Option<Vec<Vec<u8>>>,
}

/// The function's end of the mailbox.
#[derive(Clone)]
pub struct Io(Rc<RefCell<Mailbox>>);

/// Tasks that were begun and whose reports nobody has collected: how many.
#[must_use = "a round that is begun has to be collected"]
pub struct Pending(usize);

/// One read of [`Io::read`]: the whole of `buf` is filled from `offset` of `source`.
pub struct Read<'a> {
    /// Number of the source.
    pub source: u32,
    /// Position of the first byte.
    pub offset: u64,
    /// Set its length to what is wanted; its content is overwritten.
    pub buf: &'a mut Vec<u8>,
}

/// One write of [`Io::write`]: the whole of `buf` goes to `offset` of `sink`.
pub struct Write<'a> {
    /// Number of the sink.
    pub sink: u32,
    /// Position of the first byte.
    pub offset: u64,
    /// The bytes; it comes back unchanged.
    pub buf: &'a mut Vec<u8>,
}

/// Pending once, then ready: the point at which the machine hands over to the host.
struct Park(bool);

impl Future for Park {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Io {
    async fn park(&self, wish: Step) {
        self.0.borrow_mut().wish = Some(wish);
        Park(false).await;
    }

    /// Length of a source in bytes. A source that does not exist has none.
    pub fn size(&self, source: u32) -> u64 {
        self.0.borrow().sizes.get(source as usize).copied().unwrap_or(0)
    }

    fn check(&self, source: u32, offset: u64, len: usize) -> Result<()> {
        let size = self.size(source);
        if offset.checked_add(len as u64).is_some_and(|end| end <= size) {
            return Ok(());
        }
        Err(Error::new(
            Code::Truncated,
            format!(
                "{len} bytes are wanted at offset {offset}, but the file has {size}; it was cut off, or its header is damaged"
            ),
        )
        .at(offset)
        .source(source))
    }

    /// Fills every buffer from its source, all in one step.
    ///
    /// `TRUNCATED` when a range runs past the end of its source. Reads of nothing are left out.
    pub async fn read(&self, reads: &mut [Read<'_>]) -> Result<()> {
        let mut needs = Vec::with_capacity(reads.len());
        for (buf, r) in reads.iter().enumerate() {
            let len = r.buf.len();
            self.check(r.source, r.offset, len)?;
            if len > 0 {
                needs.push(Transfer {
                    file: r.source,
                    offset: r.offset,
                    len,
                    buf,
                });
            }
        }
        if needs.is_empty() {
            return Ok(());
        }
        self.0.borrow_mut().bufs = reads.iter_mut().map(|r| std::mem::take(r.buf)).collect();
        self.park(Step::Need(needs)).await;
        let bufs = std::mem::take(&mut self.0.borrow_mut().bufs);
        for (r, buf) in reads.iter_mut().zip(bufs) {
            *r.buf = buf;
        }
        Ok(())
    }

    /// Fills one buffer, as [`Io::read`] does.
    pub async fn fill(&self, source: u32, offset: u64, buf: &mut Vec<u8>) -> Result<()> {
        self.read(&mut [Read { source, offset, buf }]).await
    }

    /// Reads `len` bytes into a vector of their own. The caller has bounded `len`.
    pub async fn read_vec(&self, source: u32, offset: u64, len: usize) -> Result<Vec<u8>> {
        // Checked before the vector exists, so that a false length allocates nothing.
        self.check(source, offset, len)?;
        let mut buf = buffers::take(len);
        self.fill(source, offset, &mut buf).await?;
        Ok(buf)
    }

    /// Writes the whole of each buffer at its offset, all in one step. The buffers come back unchanged.
    pub async fn write(&self, writes: &mut [Write<'_>]) {
        let ready: Vec<_> = writes
            .iter()
            .enumerate()
            .filter(|(_, w)| !w.buf.is_empty())
            .map(|(buf, w)| Transfer {
                file: w.sink,
                offset: w.offset,
                len: w.buf.len(),
                buf,
            })
            .collect();
        if ready.is_empty() {
            return;
        }
        self.0.borrow_mut().bufs = writes.iter_mut().map(|w| std::mem::take(w.buf)).collect();
        self.park(Step::Ready(ready)).await;
        let bufs = std::mem::take(&mut self.0.borrow_mut().bufs);
        for (w, buf) in writes.iter_mut().zip(bufs) {
            *w.buf = buf;
        }
    }

    /// Writes the whole of one buffer, as [`Io::write`] does.
    pub async fn put(&self, sink: u32, offset: u64, buf: &mut Vec<u8>) {
        self.write(&mut [Write { sink, offset, buf }]).await;
    }

    /// Feeds `buf` to the SHA-256 of each lane. Lanes are numbered by the function and start empty.
    pub async fn hash(&self, lanes: &[u32], buf: &mut Vec<u8>) {
        if buf.is_empty() {
            return;
        }
        self.0.borrow_mut().bufs = vec![std::mem::take(buf)];
        self.park(Step::Hash {
            lanes: lanes.to_vec(),
            buf: 0,
        })
        .await;
        *buf = self.0.borrow_mut().bufs.pop().unwrap_or_default();
    }

    /// The SHA-256 of a lane; of nothing, when the lane was never fed.
    pub async fn digest(&self, lane: u32) -> Result<[u8; 32]> {
        self.park(Step::Digest { lane }).await;
        self.0.borrow_mut().digest.take().ok_or_else(|| no_answer("a digest"))
    }

    /// Tells the host what will be done.
    pub async fn plan(&self, json: String) {
        self.park(Step::Plan(json)).await;
    }

    /// Has the outputs created.
    pub async fn create(&self, outputs: Vec<OutputFile>) {
        self.park(Step::Create(outputs)).await;
    }

    /// Cuts a sink to its final length.
    pub async fn resize(&self, file: u32, size: u64) {
        self.park(Step::Resize { file, size }).await;
    }

    /// Has the tasks run; their reports come back in the order of the tasks.
    pub async fn run(&self, tasks: Vec<TaskSpec>) -> Result<Vec<Vec<u8>>> {
        let round = self.start(tasks).await;
        self.collect(round).await
    }

    /// Has the tasks begun. Rounds are collected in the order in which they were begun.
    pub async fn start(&self, tasks: Vec<TaskSpec>) -> Pending {
        let n = tasks.len();
        if n > 0 {
            self.park(Step::Start(tasks)).await;
        }
        Pending(n)
    }

    /// Waits for the tasks of a round; their reports are in the order of the tasks.
    pub async fn collect(&self, Pending(n): Pending) -> Result<Vec<Vec<u8>>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        self.park(Step::Collect).await;
        let reports = self.0.borrow_mut().reports.take();
        reports
            .filter(|r| r.len() == n)
            .ok_or_else(|| no_answer("the reports of its tasks"))
    }

    /// Hands out one item of a streamed result. The buffer, if any, comes back unchanged.
    pub async fn item(&self, json: String, bytes: Option<&mut Vec<u8>>) {
        match bytes {
            None => self.park(Step::Item { json, buf: None }).await,
            Some(bytes) => {
                self.0.borrow_mut().bufs = vec![std::mem::take(bytes)];
                self.park(Step::Item { json, buf: Some(0) }).await;
                *bytes = self.0.borrow_mut().bufs.pop().unwrap_or_default();
            }
        }
    }
}

fn no_answer(what: &str) -> Error {
    Error::new(Code::Internal, format!("the host stepped on without giving {what}"))
}

type Running = Pin<Box<dyn Future<Output = Result<Vec<u8>>>>>;

/// A job or task in progress.
pub struct Machine {
    future: Option<Running>,
    mailbox: Rc<RefCell<Mailbox>>,
}

impl Machine {
    /// A machine over sources of these sizes that runs `function`.
    pub fn new<F, Fut, T>(sizes: Vec<u64>, function: F) -> Self
    where
        F: FnOnce(Io) -> Fut,
        Fut: Future<Output = Result<T>> + 'static,
        T: Into<Vec<u8>>,
    {
        let mailbox = Rc::new(RefCell::new(Mailbox {
            sizes,
            ..Mailbox::default()
        }));
        let future = function(Io(mailbox.clone()));
        let future = async { future.await.map(Into::into) };
        Self {
            future: Some(Box::pin(future)),
            mailbox,
        }
    }

    /// Goes on until the machine wants something or is done. After an error or `Done` it must not be stepped again.
    pub fn step(&mut self) -> Result<Step> {
        let future = self
            .future
            .as_mut()
            .ok_or_else(|| Error::new(Code::Internal, "a finished machine was stepped"))?;
        let done = match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                let wish = self.mailbox.borrow_mut().wish.take();
                return wish.ok_or_else(|| Error::new(Code::Internal, "a machine waits for nothing"));
            }
            Poll::Ready(done) => done,
        };
        self.future = None;
        done.map(Step::Done)
    }

    /// Calls `f` with buffer `buf` of the current step.
    pub fn with_buffer<R>(&mut self, buf: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        f(self
            .mailbox
            .borrow_mut()
            .bufs
            .get_mut(buf)
            .map_or(&mut [], |b| b.as_mut_slice()))
    }

    /// Answers [`Step::Digest`].
    pub fn put_digest(&mut self, digest: [u8; 32]) {
        self.mailbox.borrow_mut().digest = Some(digest);
    }

    /// Answers [`Step::Collect`].
    pub fn put_reports(&mut self, reports: Vec<Vec<u8>>) {
        self.mailbox.borrow_mut().reports = Some(reports);
    }

    /// Tells the machine the size of a source that came into being during the job (an output read back).
    pub fn put_size(&mut self, source: u32, size: u64) {
        let sizes = &mut self.mailbox.borrow_mut().sizes;
        if sizes.len() <= source as usize {
            sizes.resize(source as usize + 1, 0);
        }
        sizes[source as usize] = size;
    }
}
