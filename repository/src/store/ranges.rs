//! Large ranges of local objects, read into memory that is used again.
//!
//! Fresh memory for each range is faulted in page by page, filled with zeros and then read over: a quarter of what the restore of a large
//! file costs.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use memmap2::MmapMut;

use crate::lock::locked;

/// Smaller ranges are not worth it.
pub(super) const BYTES_MIN: u64 = 1 << 20;
/// Memory that waits for the next range, at most.
const IDLE_BYTES_MAX: usize = 8 << 20;

/// Memory that ranges are read into. It comes back when nobody has them any more.
#[derive(Debug, Default)]
pub(super) struct RangeMemory {
    idle: Mutex<Vec<MmapMut>>,
}

impl RangeMemory {
    /// The range of the file, all of it.
    pub(super) fn read(self: &Arc<Self>, path: &Path, range: Range<u64>) -> io::Result<Bytes> {
        let file = File::open(path)?;
        let bytes = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut map = self.take(bytes)?;
        file.read_exact_at(&mut map[..bytes], range.start)?;
        Ok(Bytes::from_owner(Lent { map: Some(map), bytes, memory: Arc::clone(self) }))
    }

    /// At least so many bytes, the smallest that waits, or new ones. Only touched pages are memory.
    fn take(&self, bytes: usize) -> io::Result<MmapMut> {
        let mut idle = locked(&self.idle);
        let fitting = idle.iter().enumerate().filter(|(_, map)| map.len() >= bytes).min_by_key(|(_, map)| map.len());
        match fitting.map(|(place, _)| place) {
            Some(place) => Ok(idle.swap_remove(place)),
            // Of few sizes, so that what comes back fits again.
            None => MmapMut::map_anon(bytes.next_multiple_of(BYTES_MIN as usize)),
        }
    }

    fn give_back(&self, map: MmapMut) {
        let mut idle = locked(&self.idle);
        if idle.iter().map(|idle| idle.len()).sum::<usize>() + map.len() <= IDLE_BYTES_MAX {
            idle.push(map);
        }
    }
}

/// What was read, until nobody has it any more.
struct Lent {
    map: Option<MmapMut>,
    bytes: usize,
    memory: Arc<RangeMemory>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.map.as_ref().map_or(&[], |map| &map[..self.bytes])
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            self.memory.give_back(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn any_range_comes_back_and_its_memory_is_used_again() {
        let (memory, whole) = (Arc::new(RangeMemory::default()), content(7 << 20));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, &whole).expect("written");
        let place = memory.read(file.path(), 0..1 << 20).expect("read").as_ptr();
        for (from, to) in [(0, 1 << 20), (1, 5000), (4095, 1 << 20), (123_457, 123_458), (6 << 20, 7 << 20), (9, 9)] {
            let read = memory.read(file.path(), from as u64..to as u64).expect("read");
            assert_eq!((read.len(), read == whole[from..to], read.as_ptr()), (to - from, true, place), "{from}..{to}");
        }
        let two = [memory.read(file.path(), 0..2 << 20).expect("read"), memory.read(file.path(), 1..2 << 20).expect("read")];
        assert!(two[0] == whole[..2 << 20] && two[1] == whole[1..2 << 20], "each has its own");
        for beyond in [0..(7 << 20) + 1, 1 << 40..(1 << 40) + 5] {
            assert_eq!(memory.read(file.path(), beyond).expect_err("beyond its end").kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn no_more_waits_than_the_limit() {
        let memory = Arc::new(RangeMemory::default());
        let maps: Vec<_> = (0..6).map(|_| memory.take(3 << 20).expect("memory")).collect();
        maps.into_iter().for_each(|map| memory.give_back(map));
        assert_eq!(locked(&memory.idle).iter().map(|map| map.len()).collect::<Vec<_>>(), [3 << 20; 2]);
    }
}
