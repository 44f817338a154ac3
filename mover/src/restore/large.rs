//! Large new files: their blocks are taken at once, and large pieces of them written past the page cache.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::content::{Content, OPEN_FILES_MAX};
use super::direct::{self, Direct};
use super::edges::Added;
use super::file::{FileTask, Origin};
use super::gate::Failure;
use super::place;
use super::worker::Worker;

/// Between two looks at the grant at most this much is given blocks.
const ALLOCATED_BYTES: u64 = 1 << 30;

impl Worker {
    /// Blocks for all that will be written: pieces come in the order of the packs, and a file that took blocks in that order would be in as
    /// many pieces. And what has blocks of its own shares the file with other writes past the cache; else each has it to itself for as long as
    /// the disk takes.
    pub(super) fn allocate(&self, file: &FileTask, fd: &OwnedFd) -> Result<(), Failure> {
        // Nobody writes before that is done.
        let mut state = file.state();
        for range in std::mem::take(&mut state.unallocated) {
            let mut at = range.start;
            while at < range.end {
                self.shared.gate.pass()?;
                let length = ALLOCATED_BYTES.min(range.end - at);
                match rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, at, length) {
                    Ok(()) => at += length,
                    Err(Errno::INTR) => {}
                    // The file system does not know that, or has no room: then the writes say so.
                    Err(_) => return Ok(()),
                }
            }
        }
        Ok(())
    }

    pub(super) fn write_new(&mut self, file: &FileTask, fd: &OwnedFd, offset: u64, content: Content<'_>) -> Result<(), Failure> {
        let Some((before, blocks)) = direct::split(offset, content.length()) else { return self.write_cached(file, fd, offset, content) };
        let Some(handle) = self.direct_handle(file)? else { return self.write_cached(file, fd, offset, content) };
        let after = before + blocks;
        let mut done = before;
        while done < after {
            self.shared.gate.pass()?;
            let count = direct::BATCH_BYTES.min(after - done);
            let (memory, batch) = (&mut self.blocks, content.range(done, count));
            match self.shared.turns.wait(|| memory.write(&handle, batch.bytes(), count, offset + done)) {
                Ok(()) => self.shared.wrote_direct(count),
                // Blocks that are larger than any we know.
                Err(Errno::INVAL) => {
                    if let Direct::Handle(_) = std::mem::replace(&mut file.state().direct, Direct::Never) {
                        self.shared.open_files.fetch_sub(1, Ordering::Relaxed);
                    }
                    self.write_cached(file, fd, offset, content.range(0, before))?;
                    return self.write_cached(file, fd, offset + done, content.range(done, content.length() - done));
                }
                Err(errno) => return Err(self.refused(file, "write it", errno)),
            }
            done += count;
        }
        self.write_edge(file, fd, &handle, offset, content.range(0, before))?;
        self.write_edge(file, fd, &handle, offset + after, content.range(after, content.length() - after))
    }

    /// The end of a piece: with its block, as soon as that is whole.
    fn write_edge(&mut self, file: &FileTask, fd: &OwnedFd, handle: &OwnedFd, offset: u64, content: Content<'_>) -> Result<(), Failure> {
        if content.length() == 0 {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let (block_bytes, bytes) = (direct::block_bytes(), content.batch(0));
        let added = file.state().edges.add(&shared.edge_memory, block_bytes, offset, bytes);
        match added {
            Added::Kept => Ok(()),
            Added::Refused => self.write_cached(file, fd, offset, content),
            Added::Whole(block, bytes) => {
                shared.gate.pass()?;
                let memory = &mut self.blocks;
                match shared.turns.wait(|| memory.write(handle, Some(&bytes), block_bytes as u64, block)) {
                    Ok(()) => shared.wrote_direct(block_bytes as u64),
                    Err(Errno::INVAL) => self.write_cached(file, fd, block, Content::Bytes(&bytes))?,
                    Err(errno) => return Err(self.refused(file, "write it", errno)),
                }
                Ok(())
            }
        }
    }

    /// What still waits for the rest of its block when nothing more comes.
    pub(super) fn write_edges(&self, file: &FileTask, fd: &OwnedFd) -> Result<(), Failure> {
        let rest = file.state().edges.take_rest(&self.shared.edge_memory);
        rest.iter().try_for_each(|(offset, bytes)| self.write_cached(file, fd, *offset, Content::Bytes(bytes)))
    }

    /// The handle that writes past the page cache, if this file is worth one: large, and made by this restore.
    fn direct_handle(&mut self, file: &FileTask) -> Result<Option<Arc<OwnedFd>>, Failure> {
        let mut state = file.state();
        match &state.direct {
            Direct::Never => return Ok(None),
            Direct::Handle(fd) => return Ok(Some(Arc::clone(fd))),
            Direct::Untried => {}
        }
        state.direct = Direct::Never;
        let is_worth_it = file.directory.target.is_direct && file.entry.size >= direct::FILE_BYTES_MIN && state.origin == Origin::Made;
        let Some(identity) = state.identity.filter(|_| is_worth_it && self.shared.open_files.load(Ordering::Relaxed) < OPEN_FILES_MAX) else {
            return Ok(None);
        };
        let at = self.open(&file.directory)?;
        // Refused for whatever reason: the first handle still writes.
        let Ok(fd) = place::reopen_direct(at, file.name(), identity) else { return Ok(None) };
        let fd = Arc::new(fd);
        self.shared.open_files.fetch_add(1, Ordering::Relaxed);
        state.direct = Direct::Handle(Arc::clone(&fd));
        Ok(Some(fd))
    }
}
