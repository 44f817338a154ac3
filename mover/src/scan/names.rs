//! The names of one directory, in order, in bounded memory.
//!
//! A directory of ten million names does not fit: then the smallest names that fit are kept, and when they are used up the
//! directory is read again for those that follow. Each pass costs a read of the directory, so the work grows with the square of
//! its size over the budget; no pass needs a spill file, and a name that exists throughout is never missed.

use std::mem::MaybeUninit;

use rustix::fs::{FileType, RawDir, SeekFrom};

use super::Handle;

/// Where `getdents` writes; one buffer per walker.
pub(super) type Buffer = Vec<MaybeUninit<u8>>;

pub(super) fn buffer() -> Buffer {
    vec![MaybeUninit::uninit(); 64 << 10]
}

/// A pass's names, not yet used ones from `next` on.
#[derive(Debug, Default)]
pub(super) struct Names {
    arena: Vec<u8>,
    spans: Vec<Span>,
    next: usize,
    complete: bool,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    length: u16,
    is_directory: bool,
}

/// A name, and what the directory's list said of it, which may be out of date, or nothing.
pub(super) struct Name {
    pub(super) bytes: Vec<u8>,
    pub(super) is_directory: bool,
}

impl Names {
    /// Reads the smallest names after `after` that fit into `budget_bytes` (at least one).
    pub(super) fn read(
        directory: &Handle,
        after: Option<&[u8]>,
        budget_bytes: usize,
        buffer: &mut Buffer,
    ) -> rustix::io::Result<Self> {
        let mut names = Self { complete: true, ..Self::default() };
        let mut bound: Option<Vec<u8>> = None;
        if after.is_some() {
            directory.with(|fd| rustix::fs::seek(fd, SeekFrom::Start(0)))?;
        }
        // One borrow of the handle per pass would keep it open too long: each call to the kernel borrows it anew.
        loop {
            let more = directory.with(|fd| {
                let mut entries = RawDir::new(fd, buffer);
                let mut any = false;
                while let Some(entry) = entries.next() {
                    any = true;
                    let entry = entry?;
                    let name = entry.file_name().to_bytes();
                    let wanted = !matches!(name, b"." | b"..")
                        && after.is_none_or(|after| name > after)
                        && bound.as_deref().is_none_or(|bound| name < bound);
                    if wanted && name.len() <= usize::from(u16::MAX) {
                        names.push(name, entry.file_type() == FileType::Directory);
                        if names.bytes() > budget_bytes && names.spans.len() > 1 {
                            bound = names.keep_smaller_half().or(bound.take());
                        }
                    }
                    if entries.is_buffer_empty() {
                        break;
                    }
                }
                Ok(any)
            })?;
            if !more {
                names.sort();
                return Ok(names);
            }
        }
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + self.spans.len() * size_of::<Span>()
    }

    /// The next name, if this pass has one.
    pub(super) fn next(&mut self) -> Option<Name> {
        let span = *self.spans.get(self.next)?;
        self.next += 1;
        Some(Name { bytes: slice(&self.arena, span).to_vec(), is_directory: span.is_directory })
    }

    /// The name given last.
    pub(super) fn last_given(&self) -> Option<Vec<u8>> {
        let last = self.spans.get(self.next.checked_sub(1)?)?;
        Some(slice(&self.arena, *last).to_vec())
    }

    /// False if the directory has more names than this pass kept.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// True if no name of this pass is left.
    pub(super) fn is_used_up(&self) -> bool {
        self.next >= self.spans.len()
    }

    fn push(&mut self, name: &[u8], is_directory: bool) {
        // The budget is far below 4 GiB, and the arena never more than one name above it.
        self.spans.push(Span { start: self.arena.len() as u32, length: name.len() as u16, is_directory });
        self.arena.extend_from_slice(name);
    }

    /// A file system may give a name twice while the directory changes.
    fn sort(&mut self) {
        let arena = &self.arena;
        self.spans.sort_unstable_by(|a, b| slice(arena, *a).cmp(slice(arena, *b)));
        self.spans.dedup_by(|a, b| slice(arena, *a) == slice(arena, *b));
    }

    /// Returns the smallest name that was dropped, if any was.
    fn keep_smaller_half(&mut self) -> Option<Vec<u8>> {
        self.sort();
        let keep = (self.spans.len() / 2).max(1);
        let bound = self.spans.get(keep).map(|span| slice(&self.arena, *span).to_vec());
        let mut smaller = Self { complete: self.complete && bound.is_none(), ..Self::default() };
        for span in &self.spans[..keep] {
            smaller.push(slice(&self.arena, *span), span.is_directory);
        }
        *self = smaller;
        bound
    }
}

fn slice(arena: &[u8], span: Span) -> &[u8] {
    &arena[span.start as usize..span.start as usize + usize::from(span.length)]
}
