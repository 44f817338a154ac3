//! A large object written past the page cache.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::past_cache::{BLOCK_BYTES, Blocks, is_quick};

/// Smaller objects are not worth it.
pub(super) const BYTES_MIN: usize = 1 << 20;
/// One write.
const WRITE_BYTES: usize = 4 << 20;
/// One write of what has to be moved; memory for each object under way.
const BUFFER_BYTES: usize = 1 << 20;
/// Left-over names of killed writers that are passed over.
const NAMES_MAX: u32 = 100;

/// How a write ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The object is there, durably.
    Done,
    /// It has to be written the usual way: the file system is not a known one.
    NotHere,
}

/// Creates the file `path` from `parts`, durably and whole or not at all; an error of kind `AlreadyExists` if it is there.
pub(super) fn create(path: &Path, parts: &[Bytes]) -> io::Result<Written> {
    let Some(staged) = Staged::open(path)? else { return Ok(Written::NotHere) };
    let total: usize = parts.iter().map(Bytes::len).sum();
    // Known extents keep a file whole; where that cannot be had, writing finds its own.
    let _ = fallocate(&staged.file, FallocateFlags::empty(), 0, total as u64);
    match write(&staged.file, parts) {
        Ok(()) => {}
        // Blocks that are larger than any we know.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => return Ok(Written::NotHere),
        Err(error) => return Err(error),
    }
    staged.file.set_len(total as u64)?;
    staged.file.sync_all()?;
    std::fs::hard_link(&staged.name, path)?;
    drop(staged);
    File::open(folder_of(path)?)?.sync_all()?;
    Ok(Written::Done)
}

fn folder_of(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Makes a folder and those above it, durably: a folder that the disk does not know loses what is in it.
fn make_folder(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(folder_of(folder)?)?;
            return make_folder(folder);
        }
        made => made?,
    }
    File::open(folder_of(folder)?)?.sync_all()
}

/// A file under a name that listings pass over (`object_store`'s own: a `#` and a number), gone when this is.
struct Staged {
    file: File,
    name: PathBuf,
}

impl Staged {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        for number in 1..=NAMES_MAX {
            let mut name = path.as_os_str().to_owned();
            name.push(format!("#{number}"));
            let name = PathBuf::from(name);
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .custom_flags(OFlags::DIRECT.bits() as i32)
                .open(&name);
            match opened {
                Ok(file) => {
                    let staged = Self { file, name };
                    return Ok(is_quick(&staged.file)?.then_some(staged));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound && number == 1 => make_folder(folder_of(path)?)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays is passed over by listings, and is no object.
        let _ = std::fs::remove_file(&self.name);
    }
}

/// Everything in whole blocks; the last one is filled up with zeros, which the file's length cuts off. What begins at a block, in the file and
/// in memory, is written from where it is.
fn write(mut file: &File, parts: &[Bytes]) -> io::Result<()> {
    let mut memory = Blocks::default();
    let buffer = memory.first(BUFFER_BYTES);
    let mut filled = 0;
    for part in parts {
        let mut rest = part.as_ref();
        if filled == 0 && rest.as_ptr().align_offset(BLOCK_BYTES) == 0 {
            let (blocks, tail) = rest.split_at(rest.len() / BLOCK_BYTES * BLOCK_BYTES);
            for batch in blocks.chunks(WRITE_BYTES) {
                file.write_all(batch)?;
            }
            rest = tail;
        }
        while !rest.is_empty() {
            let count = rest.len().min(BUFFER_BYTES - filled);
            buffer[filled..filled + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            filled += count;
            if filled == BUFFER_BYTES {
                file.write_all(buffer)?;
                filled = 0;
            }
        }
    }
    if filled > 0 {
        let whole = filled.next_multiple_of(BLOCK_BYTES);
        buffer[filled..whole].fill(0);
        file.write_all(&buffer[..whole])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder on the disk that the tests are built on: `/tmp` may be memory.
    fn folder() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder")
    }

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn every_length_comes_back_from_any_parts() {
        let folder = folder();
        for (number, bytes) in [1, 4095, 4096, 4097, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES + 12345].into_iter().enumerate() {
            let (path, whole) = (folder.path().join(format!("{number}")), content(bytes));
            let parts: Vec<Bytes> = whole.chunks(100_003).map(Bytes::copy_from_slice).collect();
            if create(&path, &parts).expect("written") == Written::NotHere {
                eprintln!("skipped: this file system is not written past its cache");
                return;
            }
            assert_eq!(std::fs::read(&path).expect("read"), whole);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 8, "nothing else is left");
    }

    /// As packs are: in memory that begins at a block.
    #[test]
    fn whole_blocks_are_written_from_where_they_are() {
        let folder = folder();
        for (number, bytes) in [4096, 3 * WRITE_BYTES + 4096, WRITE_BYTES + 1, 100].into_iter().enumerate() {
            let mut memory = vec![0; BLOCK_BYTES];
            memory.reserve_exact(bytes);
            let start = memory.as_ptr().align_offset(BLOCK_BYTES);
            memory.truncate(start);
            memory.extend(content(bytes));
            let (path, aligned) = (folder.path().join(format!("{number}")), Bytes::from(memory).slice(start..));
            assert_eq!(aligned.as_ptr().align_offset(BLOCK_BYTES), 0);
            if create(&path, &[aligned.clone(), Bytes::from_static(b"tail")]).expect("written") == Written::NotHere {
                eprintln!("skipped: this file system is not written past its cache");
                return;
            }
            assert_eq!(std::fs::read(&path).expect("read"), [aligned.as_ref(), b"tail"].concat());
        }
    }

    #[test]
    fn what_is_there_is_not_replaced_and_left_over_names_are_passed_over() {
        let folder = folder();
        let path = folder.path().join("object");
        std::fs::write(&path, b"first").expect("written");
        std::fs::write(folder.path().join("object#1"), b"of a killed writer").expect("written");
        let parts = [Bytes::from(content(BYTES_MIN))];
        match create(&path, &parts) {
            Ok(Written::NotHere) => eprintln!("skipped: this file system is not written past its cache"),
            other => assert_eq!(other.expect_err("it is there").kind(), io::ErrorKind::AlreadyExists),
        }
        assert_eq!(std::fs::read(&path).expect("read"), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 2);
    }

    #[test]
    fn folders_that_are_not_there_are_made() {
        let folder = folder();
        let path = folder.path().join("not/there/yet");
        if create(&path, &[Bytes::from_static(b"x")]).expect("written") == Written::Done {
            assert_eq!(std::fs::read(&path).expect("read"), b"x");
        }
        std::fs::write(folder.path().join("file"), b"").expect("written");
        assert!(create(&folder.path().join("file/in/it"), &[Bytes::from_static(b"x")]).is_err());
    }
}
