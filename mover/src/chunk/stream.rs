//! A run of a file's content on its way to blobs: data is cut into chunks, holes and zeros are only counted.

use std::collections::VecDeque;

use holdfast_repository::BlobId;

use super::{Cutter, Looked};
use crate::catalog::Extent;

/// Zero blocks are looked for at this step of the file: smaller ones would cost more in the catalog than they save.
pub(crate) const ZERO_BLOCK_BYTES: usize = 64 << 10;
/// One read.
pub(crate) const READ_BYTES: usize = 1 << 20;

/// Buffers data until a chunk can be cut. Holes and zeros between are kept in order beside it, so that a chunk may span them:
/// a sparse file does not fall into crumbs.
pub(crate) struct ChunkStream {
    cutter: Cutter,
    /// Chunks end at multiples of it.
    step: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Of the chunk that begins at `start`.
    looked: Looked,
    pieces: VecDeque<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Data(u64),
    Zero(u64),
    Hole(u64),
}

impl ChunkStream {
    pub(crate) fn new(cutter: Cutter) -> Self {
        // Chunks are a quarter of the largest: what is left of the buffer is little when it is moved to its start.
        let buffer = vec![0; cutter.max_bytes() + 2 * READ_BYTES];
        Self { cutter, step: 1, buffer, start: 0, end: 0, looked: Looked::default(), pieces: VecDeque::new() }
    }

    /// Forgets what a read that failed has left. From here on chunks end at multiples of `step`, if their data does not end before.
    pub(crate) fn begin(&mut self, step: usize) {
        (self.start, self.end, self.step) = (0, 0, step.max(1));
        self.looked = Looked::default();
        self.pieces.clear();
    }

    /// Written zeros.
    pub(crate) fn zero(&mut self, length: u64) {
        if length > 0 {
            self.piece(Piece::Zero(length));
        }
    }

    /// An empty one is none: an extent of no bytes would make the catalog unreadable.
    pub(crate) fn hole(&mut self, length: u64) {
        if length > 0 {
            self.piece(Piece::Hole(length));
        }
    }

    /// Room for the next read, at `position` of the file: as much as keeps later reads at multiples of their size.
    pub(crate) fn room(&mut self, position: u64, wanted: u64) -> &mut [u8] {
        let until_step = READ_BYTES as u64 - position % READ_BYTES as u64;
        let length = until_step.min(wanted) as usize;
        if self.buffer.len() - self.end < length {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..self.end + length]
    }

    /// `length` bytes were read into the room, from `position` of the file.
    pub(crate) fn filled(&mut self, position: u64, length: usize) {
        let mut from = self.end;
        let last = self.end + length;
        let first_step = ZERO_BLOCK_BYTES - (position % ZERO_BLOCK_BYTES as u64) as usize;
        let mut step = if first_step == ZERO_BLOCK_BYTES { ZERO_BLOCK_BYTES } else { first_step };
        while from < last {
            let to = (from + step).min(last);
            if to - from == ZERO_BLOCK_BYTES && is_zero(&self.buffer[from..to]) {
                self.piece(Piece::Zero(ZERO_BLOCK_BYTES as u64));
            } else {
                if from != self.end {
                    self.buffer.copy_within(from..to, self.end);
                }
                self.end += to - from;
                self.piece(Piece::Data((to - from) as u64));
            }
            from = to;
            step = ZERO_BLOCK_BYTES;
        }
    }

    fn piece(&mut self, piece: Piece) {
        match (self.pieces.back_mut(), piece) {
            (Some(Piece::Data(length)), Piece::Data(more))
            | (Some(Piece::Zero(length)), Piece::Zero(more))
            | (Some(Piece::Hole(length)), Piece::Hole(more)) => *length += more,
            _ => self.pieces.push_back(piece),
        }
    }

    /// The next chunk, if it ends in what is at hand, or the data does.
    pub(crate) fn chunk(&mut self, is_end: bool) -> Option<&[u8]> {
        let data = &self.buffer[self.start..self.end];
        if data.is_empty() {
            return None;
        }
        let length = match self.cutter.find(data, &mut self.looked) {
            Some(cut) => (cut / self.step * self.step).max(self.step.min(cut)),
            None if is_end => data.len(),
            None => return None,
        };
        Some(&data[..length])
    }

    /// The chunk of `length` bytes is stored as `blob`: gives its extents, and the holes and zeros before and between.
    pub(crate) fn consume(&mut self, blob: BlobId, length: usize, extents: &mut Vec<Extent>) {
        self.start += length;
        self.looked = Looked::default();
        let mut offset = 0;
        while offset < length {
            self.skip_empty(extents);
            let Some(Piece::Data(left)) = self.pieces.front_mut() else {
                return;
            };
            let take = (*left).min((length - offset) as u64);
            *left -= take;
            if *left == 0 {
                self.pieces.pop_front();
            }
            extents.push(Extent::Blob { blob, offset: offset as u32, length: take as u32 });
            offset += take as usize;
        }
    }

    /// Gives the holes and zeros that come before the next data.
    pub(crate) fn skip_empty(&mut self, extents: &mut Vec<Extent>) {
        loop {
            match self.pieces.front() {
                Some(Piece::Zero(length)) => extents.push(Extent::Zero { length: *length }),
                Some(Piece::Hole(length)) => extents.push(Extent::Hole { length: *length }),
                _ => return,
            }
            self.pieces.pop_front();
        }
    }
}

/// True if every byte is zero. Looks at the start first: most data is not zero, and shows it there.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at(bytes.len().min(64));
    head.iter().all(|byte| *byte == 0)
        && rest.chunks(1024).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutter() -> Cutter {
        Cutter::new(&holdfast_repository::ChunkerParameters {
            gear_seed: 7,
            min_bytes: 16 << 10,
            avg_bytes: 64 << 10,
            max_bytes: 256 << 10,
            bundle_bytes: 1 << 20,
            small_file_bytes: 128 << 10,
            fine_step_bytes: 16 << 10,
        })
    }

    /// What a file of these pieces becomes, and the same content put together again from its extents.
    fn through(pieces: &[(char, usize)]) -> (Vec<u8>, Vec<u8>, Vec<Extent>) {
        let mut stream = ChunkStream::new(cutter());
        let (mut content, mut extents, mut blobs) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
        let mut state = 9u64;
        let mut take = |stream: &mut ChunkStream, extents: &mut Vec<Extent>, is_end| {
            while let Some(chunk) = stream.chunk(is_end) {
                let (length, mut id) = (chunk.len(), [0; 32]);
                id[..8].copy_from_slice(&(blobs.len() as u64).to_le_bytes());
                blobs.push(chunk.to_vec());
                stream.consume(BlobId(id), length, extents);
            }
        };
        for (kind, length) in pieces {
            if *kind == 'h' {
                stream.hole(*length as u64);
                content.resize(content.len() + length, 0);
                continue;
            }
            let mut left = *length;
            while left > 0 {
                let position = content.len() as u64;
                let room = stream.room(position, left as u64);
                let length = room.len();
                for byte in room.iter_mut() {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte = if *kind == 'z' { 0 } else { (state >> 56) as u8 };
                }
                content.extend_from_slice(room);
                stream.filled(position, length);
                take(&mut stream, &mut extents, false);
                left -= length;
            }
        }
        take(&mut stream, &mut extents, true);
        stream.skip_empty(&mut extents);
        let mut again = Vec::new();
        for extent in &extents {
            match extent {
                Extent::Blob { blob, offset, length } => {
                    let number = u64::from_le_bytes(blob.0[..8].try_into().unwrap()) as usize;
                    again.extend_from_slice(&blobs[number][*offset as usize..][..*length as usize]);
                }
                Extent::Hole { length } | Extent::Zero { length } => again.resize(again.len() + *length as usize, 0),
            }
        }
        (content, again, extents)
    }

    #[test]
    fn every_byte_comes_back() {
        for pieces in [
            &[('d', 1)][..],
            &[('d', 3 << 20)],
            &[('h', 4096), ('d', 70_000), ('h', 12_288), ('d', 1_500_000), ('z', 400_000), ('d', 5)],
            &[('z', 1 << 20)],
            &[('h', 1 << 30)],
            &[('h', 0), ('d', 200_000), ('h', 0)],
            &[('z', 100), ('d', 65_536), ('z', 65_536), ('d', 65_436), ('h', 4096)],
        ] {
            let (content, again, extents) = through(pieces);
            assert!(content == again, "{pieces:?} became {extents:?}");
            assert!(extents.iter().all(|extent| extent.length() > 0));
        }
    }

    #[test]
    fn chunks_end_at_steps_where_asked() {
        let mut stream = ChunkStream::new(cutter());
        stream.begin(16 << 10);
        let room = stream.room(0, 1 << 20);
        let mut state = 5u64;
        room.iter_mut().for_each(|byte| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        });
        stream.filled(0, 1 << 20);
        let (mut lengths, mut extents) = (Vec::new(), Vec::new());
        while let Some(chunk) = stream.chunk(true) {
            lengths.push(chunk.len());
            let length = chunk.len();
            stream.consume(BlobId([1; 32]), length, &mut extents);
        }
        assert!(lengths.len() > 4 && lengths.iter().all(|length| length % (16 << 10) == 0), "{lengths:?}");
        assert_eq!(lengths.iter().sum::<usize>(), 1 << 20);
    }

    /// However it was read, and wherever the buffer began anew.
    #[test]
    fn chunks_are_those_of_all_the_data() {
        let (content, _, extents) = through(&[('d', 5 << 20), ('h', 4096), ('d', 3 << 20)]);
        let mut data: Vec<u8> = content[..5 << 20].to_vec();
        data.extend_from_slice(&content[(5 << 20) + 4096..]);
        let mut lengths: Vec<(BlobId, u64)> = Vec::new();
        for extent in &extents {
            match (extent, lengths.last_mut()) {
                (Extent::Blob { blob, length, .. }, Some(last)) if last.0 == *blob => last.1 += u64::from(*length),
                (Extent::Blob { blob, length, .. }, _) => lengths.push((*blob, u64::from(*length))),
                _ => {}
            }
        }
        let (mut rest, mut expected) = (data.as_slice(), Vec::new());
        while !rest.is_empty() {
            let length = cutter().cut(rest);
            expected.push(length as u64);
            rest = &rest[length..];
        }
        assert_eq!(lengths.into_iter().map(|(_, length)| length).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn zeros_are_not_holes_and_cost_no_blob() {
        let (_, _, extents) = through(&[('z', 1 << 20), ('h', 1 << 20)]);
        assert_eq!(extents, [Extent::Zero { length: 1 << 20 }, Extent::Hole { length: 1 << 20 }]);
    }

    #[test]
    fn a_sparse_file_does_not_fall_into_crumbs() {
        let pieces: Vec<_> = (0..512).flat_map(|_| [('d', 4096), ('h', 4096)]).collect();
        let (_, _, extents) = through(&pieces);
        let blobs: std::collections::HashSet<_> =
            extents.iter().filter_map(|extent| if let Extent::Blob { blob, .. } = extent { Some(*blob) } else { None }).collect();
        assert!(blobs.len() < 100, "{} blobs for 512 pieces", blobs.len());
    }
}
