//! The wire level of catalog blobs: a head, then columns, each with its number and its length.

use bytes::Bytes;

/// Version of the encoding that this code writes and reads.
const VERSION: u8 = 1;
/// No catalog blob that we write is larger; a larger one is not parsed.
pub(super) const BLOB_BYTES_MAX: usize = 4 << 20;
/// More columns than any version will have.
const COLUMNS_MAX: usize = 64;

/// Stored bytes that are not what the format says. The text names the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a column from its start; every read is bounded by what is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    bytes: Bytes,
    position: usize,
}

impl Cursor {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.position).ok_or(Malformed("a column ends early"))?;
        self.position += 1;
        Ok(byte)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number has more than 64 bits"))
    }

    pub(super) fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number has more than 32 bits"))
    }

    pub(super) fn zigzag(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&[u8], Malformed> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.remaining());
        let length = length.ok_or(Malformed("a column ends early"))?;
        let start = self.position;
        self.position += length;
        Ok(&self.bytes[start..self.position])
    }

    pub(super) fn length_and_bytes(&mut self) -> Result<&[u8], Malformed> {
        let length = self.varint()?;
        self.take(length)
    }

    fn slice(&mut self, length: u64) -> Result<Bytes, Malformed> {
        let start = self.position;
        let length = self.take(length)?.len();
        Ok(self.bytes.slice(start..start + length))
    }
}

/// A whole catalog blob: its level, how many items it has, and its columns.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) level: u8,
    pub(super) count: u64,
    columns: Vec<(u64, Bytes)>,
}

impl Frame {
    pub(super) fn encode(level: u8, count: u64, columns: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = vec![level, VERSION];
        put_varint(&mut out, count);
        for (id, bytes) in columns.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            put_varint(&mut out, *id);
            put_bytes(&mut out, bytes);
        }
        out
    }

    pub(super) fn parse(raw: Bytes) -> Result<Self, Malformed> {
        if raw.len() > BLOB_BYTES_MAX {
            return Err(Malformed("it is larger than any catalog blob"));
        }
        let mut cursor = Cursor::new(raw);
        let level = cursor.byte()?;
        if cursor.byte()? != VERSION {
            return Err(Malformed("its encoding is of a version that this program does not know"));
        }
        let count = cursor.varint()?;
        let mut columns: Vec<(u64, Bytes)> = Vec::new();
        while cursor.remaining() > 0 {
            let id = cursor.varint()?;
            let length = cursor.varint()?;
            if columns.len() == COLUMNS_MAX || columns.last().is_some_and(|(last, _)| *last >= id) {
                return Err(Malformed("its columns are out of order or too many"));
            }
            columns.push((id, cursor.slice(length)?));
        }
        Ok(Self { level, count, columns })
    }

    /// Takes the column out; one that is not there is empty.
    pub(super) fn column(&mut self, id: u64) -> Cursor {
        let found = self.columns.iter().position(|(column, _)| *column == id);
        found.map_or_else(Cursor::default, |index| Cursor::new(self.columns.remove(index).1))
    }

    /// Call when all known columns are taken: a later version marks what an older reader may not overlook with an even number.
    pub(super) fn refuse_unknown(&self) -> Result<(), Malformed> {
        if self.columns.iter().any(|(id, _)| id % 2 == 0) {
            return Err(Malformed("it has a column that this program does not know and may not overlook"));
        }
        Ok(())
    }
}

/// Paths, each as what it shares with the one before and the rest.
#[derive(Debug, Default)]
pub(super) struct PathEncoder {
    pub(super) shared: Vec<u8>,
    pub(super) suffixes: Vec<u8>,
    previous: Vec<u8>,
}

impl PathEncoder {
    pub(super) fn push(&mut self, path: &[u8]) {
        let shared = self.previous.iter().zip(path).take_while(|(a, b)| a == b).count();
        put_varint(&mut self.shared, shared as u64);
        put_bytes(&mut self.suffixes, &path[shared..]);
        self.previous.truncate(shared);
        self.previous.extend_from_slice(&path[shared..]);
    }
}

/// The reverse of [`PathEncoder`].
#[derive(Debug)]
pub(super) struct PathDecoder {
    shared: Cursor,
    suffixes: Cursor,
    previous: Vec<u8>,
}

impl PathDecoder {
    pub(super) fn new(shared: Cursor, suffixes: Cursor) -> Self {
        Self { shared, suffixes, previous: Vec::new() }
    }

    pub(super) fn next(&mut self) -> Result<super::RelPath, Malformed> {
        let shared = self.shared.varint()?;
        let shared = usize::try_from(shared).ok().filter(|shared| *shared <= self.previous.len());
        self.previous.truncate(shared.ok_or(Malformed("a path shares more than there is"))?);
        let suffix = self.suffixes.length_and_bytes()?;
        self.previous.extend_from_slice(suffix);
        super::RelPath::parse(&self.previous).map_err(|_| Malformed("a path is not one"))
    }
}

/// A small hash of a path, keyed with the repository's chunker seed: it only decides where segments and bundles end.
pub(crate) fn border_hash(seed: u64, bytes: &[u8]) -> u32 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (hash >> 32) as u32
}

/// True for about one in `one_in / weight` hashes: heavy items end a segment as often as many light ones.
pub(crate) fn is_border(hash: u32, weight: u64, one_in: u64) -> bool {
    u64::from(hash) < (weight.min(one_in) << 32) / one_in
}
