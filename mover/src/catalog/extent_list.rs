//! Extents in columns: of the files of a segment, or in a list of their own for a giant file.

use std::collections::HashMap;

use bytes::Bytes;
use holdfast_repository::BlobId;

use super::column::{Cursor, Frame, Malformed, put_varint, put_zigzag};
use super::segment::blob_at;
use super::{Extent, ExtentListRef};

const LIST_BLOBS: u64 = 2;
const LIST_ITEMS: u64 = 4;

/// Lists of lists of lists: more than any file of 2^64 bytes needs.
pub(super) const DEPTH_MAX: u8 = 8;

/// Collects extents and the table of the blobs that they name.
#[derive(Debug, Default)]
pub(super) struct ExtentEncoder {
    pub(super) blobs: Vec<u8>,
    pub(super) column: Vec<u8>,
    numbers: HashMap<BlobId, u64>,
    next: Expected,
}

/// Where the next extent most likely begins: where the last one of the same blob ended.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    blob: u64,
    offset: i64,
}

impl Expected {
    fn offset(self, blob: u64) -> i64 {
        if self.blob == blob { self.offset } else { 0 }
    }
}

impl ExtentEncoder {
    /// A file's extents. The length of the last one is not written: it is what is left of the file's size.
    pub(super) fn push_file(&mut self, extents: &[Extent]) {
        put_varint(&mut self.column, extents.len() as u64);
        for (index, extent) in extents.iter().enumerate() {
            self.push(extent, index + 1 < extents.len());
        }
    }

    fn push(&mut self, extent: &Extent, with_length: bool) {
        match *extent {
            Extent::Hole { .. } => put_varint(&mut self.column, 0),
            Extent::Zero { .. } => put_varint(&mut self.column, 1),
            Extent::Blob { blob, offset, length } => {
                let number = self.number(blob);
                put_varint(&mut self.column, number + 2);
                put_zigzag(&mut self.column, i64::from(offset) - self.next.offset(number));
                self.next = Expected { blob: number, offset: i64::from(offset) + i64::from(length) };
            }
        }
        if with_length {
            put_varint(&mut self.column, extent.length());
        }
    }

    /// A reference to a list, into `column`; its blob goes to the same table.
    pub(super) fn push_list(&mut self, column: &mut Vec<u8>, list: &ExtentListRef) {
        let number = self.number(list.blob);
        put_varint(column, number);
        put_varint(column, u64::from(list.depth));
        put_varint(column, list.length);
    }

    fn number(&mut self, blob: BlobId) -> u64 {
        let next = self.numbers.len() as u64;
        let blobs = &mut self.blobs;
        *self.numbers.entry(blob).or_insert_with(|| {
            blobs.extend_from_slice(&blob.0);
            next
        })
    }
}

/// The reverse of [`ExtentEncoder`].
#[derive(Debug)]
pub(super) struct ExtentDecoder {
    blobs: Cursor,
    column: Cursor,
    next: Expected,
}

impl ExtentDecoder {
    pub(super) fn new(blobs: Cursor, column: Cursor) -> Self {
        Self { blobs, column, next: Expected::default() }
    }

    pub(super) fn file(&mut self, size: u64) -> Result<Vec<Extent>, Malformed> {
        let count = self.column.varint()?;
        if count > self.column.remaining() as u64 {
            return Err(Malformed("a file has more extents than bytes for them"));
        }
        let mut left = size;
        let mut extents = Vec::with_capacity(count as usize);
        for index in 0..count {
            let extent = self.extent((index + 1 == count).then_some(left))?;
            left = left.checked_sub(extent.length()).ok_or(Malformed("a file's extents cover more than its size"))?;
            extents.push(extent);
        }
        if left != 0 {
            return Err(Malformed("a file's extents do not cover its size"));
        }
        Ok(extents)
    }

    /// `length` is given where it is not written.
    fn extent(&mut self, length: Option<u64>) -> Result<Extent, Malformed> {
        let tag = self.column.varint()?;
        let blob = match tag {
            0 | 1 => None,
            _ => {
                let number = tag - 2;
                let offset = self.next.offset(number).checked_add(self.column.zigzag()?);
                let offset = offset.and_then(|offset| u32::try_from(offset).ok());
                Some((number, offset.ok_or(Malformed("an extent begins outside of any blob"))?))
            }
        };
        let length = match length {
            Some(length) => length,
            None => self.column.varint()?,
        };
        if length == 0 {
            return Err(Malformed("an extent is empty"));
        }
        let Some((number, offset)) = blob else {
            return Ok(if tag == 0 { Extent::Hole { length } } else { Extent::Zero { length } });
        };
        let length = u32::try_from(length).map_err(|_| Malformed("an extent is longer than any blob"))?;
        self.next = Expected { blob: number, offset: i64::from(offset) + i64::from(length) };
        Ok(Extent::Blob { blob: blob_at(&self.blobs, number)?, offset, length })
    }

    pub(super) fn list_ref(&mut self, column: &mut Cursor) -> Result<ExtentListRef, Malformed> {
        let blob = blob_at(&self.blobs, column.varint()?)?;
        let depth = u8::try_from(column.varint()?).ok().filter(|depth| (1..=DEPTH_MAX).contains(depth));
        let depth = depth.ok_or(Malformed("an extent list has no depth that can be"))?;
        let length = column.varint()?;
        if length == 0 {
            return Err(Malformed("an extent list is empty"));
        }
        Ok(ExtentListRef { blob, depth, length })
    }
}

/// A list of extents (depth 1) as a blob.
pub(super) fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    let mut encoder = ExtentEncoder::default();
    for extent in extents {
        encoder.push(extent, true);
    }
    Frame::encode(1, extents.len() as u64, &[(LIST_BLOBS, &encoder.blobs), (LIST_ITEMS, &encoder.column)])
}

/// A list of lists, all of the same depth, as a blob of one depth more.
pub(super) fn encode_lists(lists: &[ExtentListRef], depth: u8) -> Vec<u8> {
    let mut encoder = ExtentEncoder::default();
    let mut items = Vec::new();
    for list in lists {
        encoder.push_list(&mut items, list);
    }
    Frame::encode(depth, lists.len() as u64, &[(LIST_BLOBS, &encoder.blobs), (LIST_ITEMS, &items)])
}

/// Items of one stored list, one after another.
#[derive(Debug)]
pub(super) struct ListDecoder {
    depth: u8,
    remaining: u64,
    left_bytes: u64,
    extents: ExtentDecoder,
    lists: Cursor,
}

/// An item of a stored list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListItem {
    Extent(Extent),
    List(ExtentListRef),
}

impl ListDecoder {
    /// `expected` is the reference through which the blob was reached: depth and bytes must be what it says.
    pub(super) fn parse(raw: Bytes, expected: &ExtentListRef) -> Result<Self, Malformed> {
        let mut frame = Frame::parse(raw)?;
        if frame.level != expected.depth {
            return Err(Malformed("an extent list is not of the depth at which it is used"));
        }
        let blobs = frame.column(LIST_BLOBS);
        let items = frame.column(LIST_ITEMS);
        frame.refuse_unknown()?;
        let (column, lists) = if frame.level == 1 { (items, Cursor::default()) } else { (Cursor::default(), items) };
        Ok(Self {
            depth: frame.level,
            remaining: frame.count,
            left_bytes: expected.length,
            extents: ExtentDecoder::new(blobs, column),
            lists,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<ListItem>, Malformed> {
        if self.remaining == 0 {
            return if self.left_bytes == 0 { Ok(None) } else { Err(Malformed("an extent list does not cover what it should")) };
        }
        self.remaining -= 1;
        let item = if self.depth == 1 {
            ListItem::Extent(self.extents.extent(None)?)
        } else {
            let list = self.extents.list_ref(&mut self.lists)?;
            if list.depth != self.depth - 1 {
                return Err(Malformed("a list of extent lists names one of the wrong depth"));
            }
            ListItem::List(list)
        };
        let length = match &item {
            ListItem::Extent(extent) => extent.length(),
            ListItem::List(list) => list.length,
        };
        self.left_bytes = self.left_bytes.checked_sub(length).ok_or(Malformed("an extent list covers more than it should"))?;
        Ok(Some(item))
    }
}
