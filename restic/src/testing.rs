//! For tests of this crate and the fuzz targets: the parsers of what restic stores, by name, as they see it after opening: who holds the
//! password may be hostile too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests end where something is wrong.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast_repository::BlobId;
use holdfast_repository::testing::Parser;

use crate::id::SnapshotId;
use crate::index::{Index, IndexObject};
use crate::key::Key;
use crate::tree::Tree;
use crate::{Repository, id, inflate, quoted, snapshot};

/// What `inflate` may come to here.
const RAW_BYTES_MAX: usize = 1 << 20;
/// A decoder of zstd, with its largest window.
const ZSTD_BYTES: usize = 40 << 20;

/// All that read what restic stores.
pub fn parsers() -> Vec<Parser> {
    vec![
        Parser::new("restic-key", |bytes| Key::parse(bytes).is_ok()),
        Parser { declared_bytes: |_| RAW_BYTES_MAX + ZSTD_BYTES, ..Parser::new("restic-object", |bytes| inflate::object(bytes, RAW_BYTES_MAX).is_ok()) },
        Parser::new("restic-index", |bytes| IndexObject::parse(bytes).is_ok_and(|object| Index::default().add(object, 1000).is_ok())),
        Parser::new("restic-snapshot", |bytes| snapshot::parse(SnapshotId([0; 32]), bytes).is_ok()),
        Parser::new("restic-tree", |bytes| entries(bytes).is_ok()),
        Parser::new("restic-name", |bytes| std::str::from_utf8(bytes).is_ok_and(|text| quoted::unquote(text).is_some())),
    ]
}

fn entries(bytes: &[u8]) -> Result<(), &'static str> {
    let mut tree = Tree::parse(Bytes::copy_from_slice(bytes))?;
    while tree.next()?.is_some() {}
    Ok(())
}

/// Inputs that each parser takes.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let id = BlobId([0xab; 32]);
    let node = |name: &str, rest: &str| format!(r#"{{"name":"{name}","mtime":"2020-01-02T03:04:05.678901234Z",{rest}}}"#);
    let nodes = [
        node("a", &format!(r#""type":"dir","mode":2147484141,"subtree":"{id}""#)),
        node(r"b\\xff", &format!(r#""type":"file","mode":420,"uid":1,"gid":2,"inode":9,"device_id":3,"size":7,"links":2,"content":["{id}"],"extended_attributes":[{{"name":"user.a","value":"YQ=="}}]"#)),
        node("c", r#""type":"symlink","linktarget":"x","linktarget_raw":"eP8=""#),
        node("d", r#""type":"chardev","device":259"#),
    ];
    let index = format!(r#"{{"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":0,"length":100,"uncompressed_length":500}},{{"id":"{id}","type":"tree","offset":100,"length":100}}]}}]}}"#);
    let key = r#"{"created":"2020-01-02T03:04:05Z","username":"u","hostname":"h","kdf":"scrypt","N":32768,"r":8,"p":5,"salt":"AAAA","data":"AAAA"}"#;
    let snapshot = format!(r#"{{"time":"2020-01-02T03:04:05Z","tree":"{id}","paths":["/data"],"hostname":"h","tags":["t"],"summary":{{"total_files_processed":1,"total_bytes_processed":2}}}}"#);
    let compressed = [&[2][..], &zstd::bulk::compress(index.as_bytes(), 3).unwrap()].concat();
    vec![
        ("restic-key", key.into()),
        ("restic-object", compressed),
        ("restic-object", index.clone().into()),
        ("restic-index", index.into()),
        ("restic-snapshot", snapshot.into()),
        ("restic-tree", format!("{{\"nodes\":[{}]}}\n", nodes.join(",")).into()),
        ("restic-name", br"b\xff\u00e4\n\\".to_vec()),
    ]
}

/// Copies a repository that real restic made (`tests/fixtures`), `v1` or `v2`, to `to`, which is made with what is above it.
pub fn copy_fixture(version: &str, to: &Path) {
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version), to);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Writes into a repository what only somebody with its password can: blobs, an index that lists them, a snapshot.
pub struct Forger<'r> {
    repository: &'r Repository,
    folder: PathBuf,
    pack: Vec<u8>,
    listed: Vec<String>,
}

impl<'r> Forger<'r> {
    /// For the repository in this directory.
    pub fn new(repository: &'r Repository, folder: &Path) -> Self {
        Self { repository, folder: folder.to_owned(), pack: Vec::new(), listed: Vec::new() }
    }

    /// A blob, compressed; the index may say another length. Its id.
    pub fn add(&mut self, kind: &str, raw: &[u8], said_bytes: usize) -> BlobId {
        let id = BlobId(id::hash(raw));
        self.add_as(id, kind, raw, said_bytes);
        id
    }

    /// One under an id that may be another's.
    pub fn add_as(&mut self, id: BlobId, kind: &str, raw: &[u8], said_bytes: usize) {
        let sealed = self.repository.cipher.seal(&zstd::bulk::compress(raw, 1).unwrap());
        let (offset, length) = (self.pack.len(), sealed.len());
        self.pack.extend_from_slice(&sealed);
        self.listed.push(format!(r#"{{"id":"{id}","type":"{kind}","offset":{offset},"length":{length},"uncompressed_length":{said_bytes}}}"#));
    }

    /// A directory of these entries, each as JSON.
    pub fn tree(&mut self, nodes: &[String]) -> BlobId {
        let raw = format!("{{\"nodes\":[{}]}}\n", nodes.join(","));
        self.add("tree", raw.as_bytes(), raw.len())
    }

    /// The snapshot of this tree, with all that was added.
    pub fn snapshot(self, tree: BlobId) -> String {
        let pack = self.write("data", &self.pack, true);
        let index = format!(r#"{{"packs":[{{"id":"{pack}","blobs":[{}]}}]}}"#, self.listed.join(","));
        self.write("index", &self.repository.cipher.seal(index.as_bytes()), false);
        let snapshot = format!(r#"{{"time":"2026-11-09T00:00:00Z","tree":"{tree}","paths":["/"],"hostname":"h"}}"#);
        self.write("snapshots", &self.repository.cipher.seal(snapshot.as_bytes()), false)
    }

    fn write(&self, folder: &str, bytes: &[u8], has_subfolders: bool) -> String {
        let name = BlobId(id::hash(bytes)).to_string();
        let mut folder = self.folder.join(folder);
        if has_subfolders {
            folder.push(&name[..2]);
        }
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(&name), bytes).unwrap();
        name
    }
}
