//! An entry of a directory, as JSON has it, and what of it becomes an entry of ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_mover::catalog::{Entry, EntryFlags, EntryKind, RelPath, Timestamp, Xattr};
use holdfast_repository::BlobId;
use serde::Deserialize;

use crate::id::BlobDigits;
use crate::quoted::unquote;

/// Linux has no longer ones.
const XATTR_NAME_BYTES_MAX: usize = 255;
const XATTR_BYTES_MAX: usize = 64 << 10;
/// Of one entry, all together.
const XATTRS_BYTES_MAX: usize = 1 << 20;
const SYMLINK_BYTES_MAX: usize = 4096;
/// The label of the pod that had the volume then: the one that has it now could not reach its files with it.
const LABEL: &str = "security.selinux";

// Go's `os.FileMode`.
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const STICKY: u32 = 1 << 20;

/// As JSON has it. What is not here does not come back: names of users and groups, times of access and of change.
#[derive(Deserialize)]
pub(crate) struct Node {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    mode: u32,
    mtime: Option<String>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    linktarget_raw: Option<String>,
    extended_attributes: Option<Vec<Attribute>>,
    #[serde(default)]
    device: u64,
    content: Option<Vec<BlobDigits>>,
    subtree: Option<BlobDigits>,
}

#[derive(Deserialize)]
struct Attribute {
    name: String,
    value: Option<String>,
}

/// An entry without its path, and what leads on from it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: Vec<u8>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Entry(Box<Taken>),
    /// restic stored nothing of it, or what this version does not know.
    Unknown(String),
}

#[derive(Debug)]
pub(crate) struct Taken {
    /// At the root; its size is the recorded one.
    pub(crate) entry: Entry,
    /// Of a file.
    pub(crate) content: Vec<BlobId>,
    /// Of a directory.
    pub(crate) subtree: Option<BlobId>,
    /// Names that the entry had.
    pub(crate) links: u64,
    /// Which of several file systems its inode number is of.
    pub(crate) device_id: u64,
}

impl Node {
    pub(crate) fn take(self) -> Result<Found, &'static str> {
        let name = unquote(&self.name).ok_or("a name is not quoted as restic does")?;
        let kind = match self.kind.as_str() {
            "file" => EntryKind::File,
            "dir" => EntryKind::Directory,
            "symlink" => EntryKind::Symlink { target: target(&self.linktarget, self.linktarget_raw.as_deref())? },
            "dev" => EntryKind::BlockDevice { rdev: self.device },
            "chardev" => EntryKind::CharDevice { rdev: self.device },
            "fifo" => EntryKind::Fifo,
            "socket" => EntryKind::Socket,
            other => {
                let what = format!("restic stored nothing of it that can be restored (its kind is {:?})", other.chars().take(20).collect::<String>());
                return Ok(Found { name, what: What::Unknown(what) });
            }
        };
        if kind.is_directory() != self.subtree.is_some() {
            return Err("a directory without entries, or entries of what is none");
        }
        let content: Vec<BlobId> = self.content.into_iter().flatten().map(|id| id.0).collect();
        if !content.is_empty() && !kind.is_file() {
            return Err("content of what is no file");
        }
        let entry = Entry {
            path: RelPath::root(),
            mode: mode(self.mode),
            uid: self.uid,
            gid: self.gid,
            mtime: time(self.mtime.as_deref().unwrap_or_default())?,
            ctime: Timestamp::default(),
            inode: self.inode,
            device: 0,
            size: if kind.is_file() { self.size } else { 0 },
            xattrs: xattrs(self.extended_attributes.unwrap_or_default())?,
            link_to: None,
            flags: EntryFlags::default(),
            extents: Vec::new(),
            extent_lists: Vec::new(),
            kind,
        };
        let taken = Taken { entry, content, subtree: self.subtree.map(|id| id.0), links: self.links, device_id: self.device_id };
        Ok(Found { name, what: What::Entry(Box::new(taken)) })
    }
}

fn mode(go: u32) -> u32 {
    let bit = |go_bit: u32, bit: u32| if go & go_bit != 0 { bit } else { 0 };
    go & 0o777 | bit(SET_UID, 0o4000) | bit(SET_GID, 0o2000) | bit(STICKY, 0o1000)
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    let time: jiff::Timestamp = text.parse().map_err(|_| "a time that is none")?;
    let (secs, nanos) = (time.as_second(), time.subsec_nanosecond());
    // Before 1970 both count backwards there; here only the seconds do.
    let (secs, nanos) = if nanos < 0 { (secs - 1, nanos + 1_000_000_000) } else { (secs, nanos) };
    Ok(Timestamp { secs, nanos: u32::try_from(nanos).map_err(|_| "a time that is none")? })
}

fn target(text: &str, raw: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let target = match raw {
        Some(raw) => STANDARD.decode(raw).map_err(|_| "the target of a symlink is not base64")?,
        None => text.as_bytes().to_vec(),
    };
    if target.is_empty() || target.len() > SYMLINK_BYTES_MAX || target.contains(&0) { Err("the target of a symlink is none") } else { Ok(target) }
}

fn xattrs(attributes: Vec<Attribute>) -> Result<Vec<Xattr>, &'static str> {
    let mut xattrs = Vec::with_capacity(attributes.len());
    let mut bytes = 0;
    for Attribute { name, value } in attributes.into_iter().filter(|attribute| attribute.name != LABEL) {
        let value = STANDARD.decode(value.unwrap_or_default()).map_err(|_| "an extended attribute is not base64")?;
        bytes += name.len() + value.len();
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX || name.contains('\0') || value.len() > XATTR_BYTES_MAX || bytes > XATTRS_BYTES_MAX {
            return Err("an extended attribute that Linux cannot have");
        }
        xattrs.push((name.into_bytes(), value));
    }
    xattrs.sort_unstable();
    if xattrs.windows(2).any(|pair| pair[0].0 == pair[1].0) { Err("an extended attribute twice") } else { Ok(xattrs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(members: &str) -> Result<Found, &'static str> {
        serde_json::from_str::<Node>(&format!(r#"{{"name":"n","mtime":"2020-01-02T03:04:05.678901234+01:00",{members}}}"#)).map_err(|_| "not JSON")?.take()
    }

    fn taken(members: &str) -> Taken {
        match node(members).map(|found| found.what) {
            Ok(What::Entry(taken)) => *taken,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_restic_records_becomes_an_entry() {
        let file = taken(r#""type":"file","mode":12583405,"uid":1,"gid":2,"size":3,"content":null,"extended_attributes":[{"name":"user.b","value":"YQ=="},{"name":"user.a","value":null},{"name":"security.selinux","value":"eA=="}]"#);
        assert_eq!((file.entry.mode, file.entry.uid, file.entry.gid, file.entry.size), (0o6755, 1, 2, 3));
        assert_eq!(file.entry.mtime, Timestamp { secs: 1_577_930_645, nanos: 678_901_234 });
        assert_eq!(file.entry.xattrs, [(b"user.a".to_vec(), vec![]), (b"user.b".to_vec(), b"a".to_vec())]);
        let directory = format!(r#""type":"dir","mode":2148532735,"subtree":"{}""#, BlobId([1; 32]));
        assert_eq!(taken(&directory).entry.mode, 0o1777);
        assert_eq!(taken(r#""type":"chardev","device":259"#).entry.kind, EntryKind::CharDevice { rdev: 259 });
        let link = taken(r#""type":"symlink","linktarget":"x","linktarget_raw":"/w==""#);
        assert_eq!(link.entry.kind, EntryKind::Symlink { target: vec![0xff] });
        assert_eq!(time("1969-12-31T23:59:58.25Z").unwrap(), Timestamp { secs: -2, nanos: 250_000_000 });
        assert!(matches!(node(r#""type":"irregular""#).unwrap().what, What::Unknown(_)));
    }

    #[test]
    fn what_restic_never_writes_is_refused() {
        let long = "a".repeat(XATTR_NAME_BYTES_MAX + 1);
        for wrong in [
            r#""type":"dir""#.to_owned(),
            format!(r#""type":"file","subtree":"{}""#, BlobId([1; 32])),
            format!(r#""type":"fifo","content":["{}"]"#, BlobId([1; 32])),
            r#""type":"file","content":["zz"]"#.to_owned(),
            r#""type":"symlink","linktarget":"""#.to_owned(),
            r#""type":"symlink","linktarget":"a\u0000b""#.to_owned(),
            format!(r#""type":"symlink","linktarget":"{}""#, "a".repeat(SYMLINK_BYTES_MAX + 1)),
            format!(r#""type":"file","extended_attributes":[{{"name":"{long}","value":null}}]"#),
            r#""type":"file","extended_attributes":[{"name":"user.a","value":null},{"name":"user.a","value":null}]"#.to_owned(),
            r#""type":"file","size":-1"#.to_owned(),
            r#""type":"file","mtime":"yesterday""#.to_owned(),
            r#""type":"file","type":"dir""#.to_owned(),
        ] {
            assert!(node(&wrong).is_err(), "{wrong}");
        }
    }
}
