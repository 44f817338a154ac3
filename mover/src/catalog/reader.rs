//! Reads a catalog in order, or from any path on. Holds the nodes on the way down and one segment.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_repository::{BlobId, BlobKind, ReadError, Reader, Writer};

use super::column::{Frame, Malformed};
use super::extent_list::{ListDecoder, ListItem};
use super::node::{Child, NodeDecoder};
use super::segment::SegmentDecoder;
use super::{Entry, Extent, ExtentListRef, RelPath};

/// Where catalog blobs come from: a reader, or the writer of a running backup (for its parent's catalog).
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// The raw bytes of a blob, its id verified.
    async fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, ReadError>;
}

#[async_trait]
impl BlobSource for Reader {
    async fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, ReadError> {
        Reader::read_blob(self, kind, id).await
    }
}

#[async_trait]
impl BlobSource for Writer {
    async fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, ReadError> {
        Writer::read_blob(self, kind, id).await
    }
}

/// A catalog that cannot be read (further).
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogError {
    /// Its bytes are authentic and are no catalog: written by a faulty or hostile program.
    #[error("catalog blob {blob} is malformed: {what}")]
    Malformed {
        /// The blob.
        blob: BlobId,
        /// The part.
        what: &'static str,
    },
    /// The repository could not give a blob.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl CatalogError {
    /// The stored bytes are wrong or gone; otherwise the store does not answer.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Malformed { .. } => true,
            Self::Read(error) => error.is_damage(),
        }
    }
}

/// What a cursor comes to.
#[derive(Debug)]
pub enum Step {
    /// An entry.
    Entry(Entry),
    /// A part that cannot be read; what comes after it can.
    Gap(Gap),
}

/// Entries that are lost, names and all.
#[derive(Debug)]
pub struct Gap {
    /// The last entry before it; none: nothing is before it.
    pub after: Option<RelPath>,
    /// The first that is missing, where that is known.
    pub from: Option<RelPath>,
    /// The first that is there again; none: there is none.
    pub until: Option<RelPath>,
    /// Why.
    pub error: CatalogError,
}

impl Gap {
    /// The path by which it is named.
    pub fn path(&self) -> RelPath {
        self.from.as_ref().or(self.after.as_ref()).cloned().unwrap_or_default()
    }

    /// True of what would have to be in it.
    pub fn covers(&self, path: &RelPath) -> bool {
        self.after.as_ref().is_none_or(|after| path > after) && self.until.as_ref().is_none_or(|until| path < until)
    }

    /// What is lost, from `path` on.
    pub fn describe(&self) -> String {
        let from = if self.from.is_none() && self.after.is_some() { "everything behind it" } else { "everything from here" };
        let until = self.until.as_ref().map_or_else(|| "on".to_owned(), |until| format!("until before {until}"));
        format!("{from} {until} is lost, names and all: {}", self.error)
    }
}

fn malformed(blob: BlobId) -> impl Fn(Malformed) -> CatalogError {
    move |Malformed(what)| CatalogError::Malformed { blob, what }
}

/// A cursor over the entries of a catalog, in the order of path components.
pub struct CatalogReader {
    source: Arc<dyn BlobSource>,
    root: BlobId,
    state: State,
    last: Option<RelPath>,
    /// The last entry, or the beginning of a gap behind it: what is opened must begin behind this.
    reached: Option<RelPath>,
    skip_below: Option<RelPath>,
}

#[derive(Default)]
struct State {
    started: bool,
    nodes: Vec<OpenNode>,
    segment: Option<OpenSegment>,
}

struct OpenSegment {
    blob: BlobId,
    decoder: SegmentDecoder,
    begin: Begin,
}

impl OpenSegment {
    fn next(&mut self) -> Result<Option<Entry>, CatalogError> {
        let entry = self.decoder.next().map_err(malformed(self.blob))?;
        if let Some(entry) = &entry {
            self.begin.check(self.blob, &entry.path)?;
        }
        Ok(entry)
    }
}

/// Where a blob begins by what its parent says, until its own first path was compared with that. Together with paths that rise
/// it keeps a walk past damage from opening the children that forged nodes share again and again.
#[derive(Default)]
struct Begin(Option<RelPath>);

impl Begin {
    fn check(&mut self, blob: BlobId, found: &RelPath) -> Result<(), CatalogError> {
        match &self.0 {
            Some(said) if said != found => Err(malformed(blob)(Malformed("it does not begin where it should"))),
            _ => {
                self.0 = None;
                Ok(())
            }
        }
    }
}

struct OpenNode {
    blob: BlobId,
    decoder: NodeDecoder,
    begin: Begin,
    peeked: Option<Child>,
}

impl OpenNode {
    fn next(&mut self) -> Result<Option<Child>, CatalogError> {
        if let Some(child) = self.peeked.take() {
            return Ok(Some(child));
        }
        let child = self.decoder.next().map_err(malformed(self.blob))?;
        if let Some(child) = &child {
            self.begin.check(self.blob, &child.first)?;
        }
        Ok(child)
    }

    /// The last child that begins at or before `path`; the one after it stays to be read.
    fn child_for(&mut self, path: &RelPath) -> Result<Option<Child>, CatalogError> {
        let mut found = self.next()?;
        while let Some(child) = self.next()? {
            if child.first > *path {
                self.peeked = Some(child);
                break;
            }
            found = Some(child);
        }
        Ok(found)
    }
}

impl CatalogReader {
    /// Stands before the first entry. Reads nothing yet.
    pub fn new(source: Arc<dyn BlobSource>, root: BlobId) -> Self {
        Self { source, root, state: State::default(), last: None, reached: None, skip_below: None }
    }

    /// The next entry; none at the end. After an error the reader is of no further use.
    pub async fn next(&mut self) -> Result<Option<Entry>, CatalogError> {
        match self.step().await? {
            Some(Step::Entry(entry)) => Ok(Some(entry)),
            Some(Step::Gap(gap)) => Err(gap.error),
            None => Ok(None),
        }
    }

    /// The same past what is damaged: an error is a store that does not answer.
    pub async fn step(&mut self) -> Result<Option<Step>, CatalogError> {
        if !self.state.started {
            self.state.started = true;
            if let Err(error) = self.open(self.root, None).await {
                return self.gap(None, error);
            }
        }
        loop {
            if let Some(segment) = &mut self.state.segment {
                let blob = segment.blob;
                let entry = match segment.next() {
                    Ok(Some(entry)) => self.accept(blob, &entry).map(|wanted| wanted.then_some(entry)),
                    Ok(None) => {
                        self.state.segment = None;
                        continue;
                    }
                    Err(error) => Err(error),
                };
                match entry {
                    Ok(Some(entry)) => return Ok(Some(Step::Entry(entry))),
                    Ok(None) => continue,
                    Err(error) => {
                        let begin = self.state.segment.take().and_then(|segment| segment.begin.0);
                        return self.gap(begin, error);
                    }
                }
            }
            let Some(node) = self.state.nodes.last_mut() else {
                return Ok(None);
            };
            let level = node.decoder.level - 1;
            match node.next() {
                Ok(Some(child)) if self.reached.as_ref().is_some_and(|reached| *reached >= child.first) => {
                    let error = malformed(node.blob)(Malformed("its children are out of order"));
                    self.state.nodes.pop();
                    return self.gap(None, error);
                }
                Ok(Some(child)) => {
                    if let Err(error) = self.open(child.blob, Some((level, &child.first))).await {
                        return self.gap(Some(child.first), error);
                    }
                }
                Ok(None) => drop(self.state.nodes.pop()),
                Err(error) => {
                    let begin = self.state.nodes.pop().and_then(|node| node.begin.0);
                    return self.gap(begin, error);
                }
            }
        }
    }

    fn gap(&mut self, from: Option<RelPath>, error: CatalogError) -> Result<Option<Step>, CatalogError> {
        if !error.is_damage() {
            return Err(error);
        }
        if from > self.reached {
            self.reached.clone_from(&from);
        }
        let mut until = None;
        for node in self.state.nodes.iter_mut().rev() {
            // A node that ends early tells so when it is its turn.
            if let Ok(Some(child)) = node.next() {
                until = Some(child.first.clone());
                node.peeked = Some(child);
                break;
            }
        }
        Ok(Some(Step::Gap(Gap { after: self.last.clone(), from, until, error })))
    }

    /// Checks the order, which everything that joins two catalogs, or finds links, relies on. False: before what was sought.
    fn accept(&mut self, blob: BlobId, entry: &Entry) -> Result<bool, CatalogError> {
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            return Err(malformed(blob)(Malformed("its entries are out of order")));
        }
        self.last = Some(entry.path.clone());
        self.reached.clone_from(&self.last);
        Ok(self.skip_below.as_ref().is_none_or(|below| entry.path >= *below))
    }

    /// Goes to the first entry at or after `path`, forwards or backwards.
    pub async fn seek(&mut self, path: &RelPath) -> Result<(), CatalogError> {
        self.state = State { started: true, ..State::default() };
        (self.last, self.reached) = (None, None);
        self.skip_below = Some(path.clone());
        self.open(self.root, None).await?;
        while self.state.segment.is_none() {
            let Some(node) = self.state.nodes.last_mut() else {
                return Ok(());
            };
            let level = node.decoder.level - 1;
            match node.child_for(path)? {
                Some(child) => self.open(child.blob, Some((level, &child.first))).await?,
                None => drop(self.state.nodes.pop()),
            }
        }
        Ok(())
    }

    /// `expected`: its level, and the path with which it begins; none for the root.
    async fn open(&mut self, blob: BlobId, expected: Option<(u8, &RelPath)>) -> Result<(), CatalogError> {
        let raw = self.source.read_blob(BlobKind::Catalog, &blob).await?;
        let fail = malformed(blob);
        let frame = Frame::parse(raw).map_err(&fail)?;
        // Levels fall by one on the way down, so that a forged tree is not endlessly deep.
        if expected.is_some_and(|(level, _)| level != frame.level) {
            return Err(fail(Malformed("it is not of the level at which it is used")));
        }
        // Nodes may share children: without this, a few of them that hold nothing would be walked without end.
        if expected.is_some() && frame.count == 0 {
            return Err(fail(Malformed("it is below another one and has nothing in it")));
        }
        let begin = Begin(expected.map(|(_, first)| first.clone()));
        if frame.level == 0 {
            let decoder = SegmentDecoder::from_frame(frame).map_err(fail)?;
            self.state.segment = Some(OpenSegment { blob, decoder, begin });
        } else {
            let decoder = NodeDecoder::from_frame(frame).map_err(fail)?;
            self.state.nodes.push(OpenNode { blob, decoder, begin, peeked: None });
        }
        Ok(())
    }

    /// The content of a file, wherever its extents stand.
    pub fn extents(&self, entry: &Entry) -> ExtentStream {
        ExtentStream::new(Arc::clone(&self.source), entry)
    }
}

/// The extents of one file, in order. Holds one list of each depth.
pub struct ExtentStream {
    source: Arc<dyn BlobSource>,
    inline: std::vec::IntoIter<Extent>,
    roots: std::vec::IntoIter<ExtentListRef>,
    lists: Vec<(BlobId, ListDecoder)>,
    opened: Vec<(BlobId, u64)>,
}

impl ExtentStream {
    /// Stands before the first extent.
    pub fn new(source: Arc<dyn BlobSource>, entry: &Entry) -> Self {
        Self {
            source,
            inline: entry.extents.clone().into_iter(),
            roots: entry.extent_lists.clone().into_iter(),
            lists: Vec::new(),
            opened: Vec::new(),
        }
    }

    /// The next extent; none at the end.
    pub async fn next(&mut self) -> Result<Option<Extent>, CatalogError> {
        if let Some(extent) = self.inline.next() {
            return Ok(Some(extent));
        }
        loop {
            let Some((blob, list)) = self.lists.last_mut() else {
                match self.roots.next() {
                    Some(root) => self.open(root).await?,
                    None => return Ok(None),
                }
                continue;
            };
            match list.next().map_err(malformed(*blob))? {
                Some(ListItem::Extent(extent)) => return Ok(Some(extent)),
                Some(ListItem::List(list)) => self.open(list).await?,
                None => drop(self.lists.pop()),
            }
        }
    }

    async fn open(&mut self, list: ExtentListRef) -> Result<(), CatalogError> {
        let raw = self.source.read_blob(BlobKind::ExtentList, &list.blob).await?;
        self.opened.push((list.blob, raw.len() as u64));
        let decoder = ListDecoder::parse(raw, &list).map_err(malformed(list.blob))?;
        self.lists.push((list.blob, decoder));
        Ok(())
    }

    /// The list blobs read since the last call, with their raw bytes.
    pub(crate) fn take_opened(&mut self) -> Vec<(BlobId, u64)> {
        std::mem::take(&mut self.opened)
    }
}
