//! Content that stands in the target already: compared, and changed only where it differs.

use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

/// What is compared, and written if it differs, in one piece.
const STEP_BYTES: usize = 16 << 10;

/// Writes those steps of `bytes` that the file does not have at `offset`. Their bytes. `there` is used to read into.
pub(super) fn write_differing(fd: &OwnedFd, bytes: &[u8], offset: u64, there: &mut Vec<u8>) -> Result<u64, Errno> {
    there.resize(bytes.len(), 0);
    // What cannot be read is written.
    let known = read_at(fd, there, offset).unwrap_or(0);
    let same = |step: usize| {
        let range = step..bytes.len().min(step + STEP_BYTES);
        range.end <= known && bytes[range.clone()] == there[range]
    };
    let mut written = 0;
    let mut at = 0;
    while at < bytes.len() {
        if same(at) {
            at += STEP_BYTES;
            continue;
        }
        let from = at;
        while at < bytes.len() && !same(at) {
            at += STEP_BYTES;
        }
        let differing = &bytes[from..at.min(bytes.len())];
        write_all(fd, differing, offset + from as u64)?;
        written += differing.len() as u64;
    }
    Ok(written)
}

/// Whether the file has blocks at all of the range.
pub(super) fn is_all_data(fd: &OwnedFd, offset: u64, length: u64) -> bool {
    rustix::fs::seek(fd, SeekFrom::Hole(offset)).is_ok_and(|hole| hole >= offset.saturating_add(length))
}

/// Gives the range's blocks back, so that it reads as zeros. False: it had none.
pub(super) fn punch(fd: &OwnedFd, offset: u64, length: u64) -> Result<bool, Errno> {
    match rustix::fs::seek(fd, SeekFrom::Data(offset)) {
        Ok(data) if data < offset.saturating_add(length) => {}
        Ok(_) | Err(Errno::NXIO) => return Ok(false),
        // Nobody says where there is data.
        Err(_) => {}
    }
    match rustix::fs::fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length) {
        Err(Errno::INTR) => punch(fd, offset, length),
        punched => punched.map(|()| true),
    }
}

/// Reads until the buffer is full or the file ends. How much was read.
pub(super) fn read_at(fd: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Writes all of it.
pub(super) fn write_all(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> OwnedFd {
        let fd: OwnedFd = tempfile::tempfile().unwrap().into();
        write_all(&fd, content, 0).unwrap();
        fd
    }

    #[test]
    fn only_what_differs_is_written() {
        let mut wanted = vec![7; 10 * STEP_BYTES + 5];
        let fd = file(&wanted);
        assert_eq!(write_differing(&fd, &wanted, 0, &mut Vec::new()), Ok(0));
        wanted[3 * STEP_BYTES] = 8;
        *wanted.last_mut().unwrap() = 9;
        assert_eq!(write_differing(&fd, &wanted, 0, &mut Vec::new()), Ok(STEP_BYTES as u64 + 5));
        let mut there = vec![0; wanted.len() + 1];
        assert_eq!(read_at(&fd, &mut there, 0), Ok(wanted.len()));
        assert!(there[..wanted.len()] == wanted);
        assert_eq!(write_differing(&fd, b"more", wanted.len() as u64, &mut Vec::new()), Ok(4));
    }

    #[test]
    fn a_hole_is_punched_once() {
        let fd = file(&[1; 1 << 20]);
        match punch(&fd, 4096, 8192) {
            Err(Errno::OPNOTSUPP) => eprintln!("skipped: no holes here"),
            punched => {
                assert_eq!(punched, Ok(true));
                assert_eq!(punch(&fd, 4096, 8192), Ok(false));
                assert!(is_all_data(&fd, 0, 4096) && !is_all_data(&fd, 0, 4097) && is_all_data(&fd, 12288, 100));
            }
        }
    }
}
