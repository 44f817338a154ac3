//! A file system of the test's own, by the kernel's FUSE protocol: a few files, and an errno wherever the test wants one. What a volume
//! on a network answers when its server has lost it can be had in no other way here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
pub(crate) const GETATTR: u32 = 3;
const OPEN: u32 = 14;
pub(crate) const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
pub(crate) const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const BATCH_FORGET: u32 = 42;

const ROOT: u64 = 1;
const REQUEST_BYTES: usize = 1 << 20;
const IN_HEADER_BYTES: usize = 40;
const SECS: u64 = 1_700_000_000;

/// What is asked of it: the operation, and the path of what it is asked for.
pub(crate) type Fails = dyn Fn(u32, &str) -> Option<Errno> + Send + Sync;

struct Node {
    path: String,
    parent: u64,
    /// None: a directory.
    content: Option<Vec<u8>>,
}

pub(crate) struct FuseDisk {
    pub(crate) mounted_at: PathBuf,
}

impl FuseDisk {
    /// Mounts `files`, and the directories above them. None where this process may not.
    pub(crate) fn mount(at: &Path, files: &[(&str, Vec<u8>)], fails: Arc<Fails>) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let Ok(device) = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
            eprintln!("skipped: needs /dev/fuse");
            return None;
        };
        let options = std::ffi::CString::new(format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd())).unwrap();
        rustix::mount::mount("fuse", at, "fuse", MountFlags::NODEV | MountFlags::NOSUID, Some(options.as_c_str())).unwrap();
        let nodes = nodes(files);
        std::thread::spawn(move || serve(device, &nodes, &*fails));
        Some(Self { mounted_at: at.to_path_buf() })
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.mounted_at, UnmountFlags::DETACH);
    }
}

fn nodes(files: &[(&str, Vec<u8>)]) -> Vec<Node> {
    let mut numbers = BTreeMap::from([(String::new(), ROOT)]);
    let mut nodes = vec![Node { path: String::new(), parent: ROOT, content: None }];
    for (path, content) in files {
        let mut parent = ROOT;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            let name = path[..end].to_owned();
            let next = nodes.len() as u64 + 1;
            let number = *numbers.entry(name.clone()).or_insert(next);
            if number == next {
                nodes.push(Node { path: name, parent, content: (end == path.len()).then(|| content.clone()) });
            }
            parent = number;
        }
    }
    nodes
}

/// Until it is unmounted.
fn serve(device: OwnedFd, nodes: &[Node], fails: &Fails) {
    let mut device = File::from(device);
    let mut request = vec![0; REQUEST_BYTES];
    while let Ok(bytes) = device.read(&mut request) {
        let request = Request(&request[..bytes]);
        if matches!(request.opcode(), FORGET | BATCH_FORGET) {
            continue;
        }
        let answer = request.answer(nodes, fails);
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-errno.raw_os_error(), Vec::new()),
        };
        let mut reply = Words::default();
        reply.u32(16 + body.len() as u32).u32(error as u32).u64(request.u64(8));
        reply.0.extend_from_slice(&body);
        // An answer to what was interrupted is not wanted any more.
        let _ = device.write(&reply.0);
    }
}

#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn u32(&mut self, word: u32) -> &mut Self {
        self.0.extend_from_slice(&word.to_ne_bytes());
        self
    }

    fn u64(&mut self, word: u64) -> &mut Self {
        self.0.extend_from_slice(&word.to_ne_bytes());
        self
    }

    /// `fuse_attr`.
    fn attributes(&mut self, number: u64, node: &Node) -> &mut Self {
        let size = node.content.as_ref().map_or(0, Vec::len) as u64;
        let (mode, links) = if node.content.is_some() { (0o100_644, 1) } else { (0o040_755, 2) };
        self.u64(number).u64(size).u64(size.div_ceil(512)).u64(SECS).u64(SECS).u64(SECS);
        self.u32(0).u32(0).u32(0).u32(mode).u32(links).u32(0).u32(0).u32(0).u32(4096).u32(0)
    }
}

struct Request<'a>(&'a [u8]);

impl Request<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(*self.0[at..].first_chunk().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(*self.0[at..].first_chunk().unwrap())
    }

    fn opcode(&self) -> u32 {
        self.u32(4)
    }

    fn number(&self) -> u64 {
        self.u64(16)
    }

    fn answer(&self, nodes: &[Node], fails: &Fails) -> Result<Vec<u8>, Errno> {
        let mut body = Words::default();
        if self.opcode() == INIT {
            // Version 7.31: no flags, reads of up to a megabyte in 128 KiB, writes of a page.
            body.u32(7).u32(31).u32(128 << 10).u32(0).u32(16 | 12 << 16).u32(4096).u32(1);
            body.0.resize(64, 0);
            return Ok(body.0);
        }
        let node = nodes.get(self.number() as usize - 1).ok_or(Errno::NOENT)?;
        if let Some(errno) = fails(self.opcode(), &node.path) {
            return Err(errno);
        }
        let argument = IN_HEADER_BYTES;
        match self.opcode() {
            LOOKUP => {
                let name = self.0[argument..].split(|byte| *byte == 0).next().unwrap_or_default();
                let is_it = |(_, child): &(usize, &Node)| child.parent == self.number() && child.path.rsplit('/').next().unwrap().as_bytes() == name && !child.path.is_empty();
                let (at, child) = nodes.iter().enumerate().find(is_it).ok_or(Errno::NOENT)?;
                let number = at as u64 + 1;
                if let Some(errno) = fails(GETATTR, &child.path) {
                    return Err(errno);
                }
                // Valid for no time: everything is asked for again.
                body.u64(number).u64(1).u64(0).u64(0).u32(0).u32(0).attributes(number, child);
            }
            GETATTR => {
                body.u64(0).u32(0).u32(0).attributes(self.number(), node);
            }
            OPEN | OPENDIR => {
                body.u64(self.number()).u32(0).u32(0);
            }
            READ => {
                let content = node.content.as_deref().ok_or(Errno::ISDIR)?;
                let from = (self.u64(argument + 8) as usize).min(content.len());
                let end = (from + self.u32(argument + 16) as usize).min(content.len());
                body.0.extend_from_slice(&content[from..end]);
            }
            READDIR => self.names(nodes, &mut body),
            RELEASE | RELEASEDIR | FLUSH => {}
            _ => return Err(Errno::NOSYS),
        }
        Ok(body.0)
    }

    fn names(&self, nodes: &[Node], body: &mut Words) {
        let (after, room) = (self.u64(IN_HEADER_BYTES + 8) as usize, self.u32(IN_HEADER_BYTES + 16) as usize);
        for (at, child) in nodes.iter().enumerate().skip(after.max(1)).filter(|(_, child)| child.parent == self.number()) {
            let name = child.path.rsplit('/').next().unwrap();
            let bytes = (24 + name.len()).next_multiple_of(8);
            if body.0.len() + bytes > room {
                return;
            }
            let end = body.0.len() + bytes;
            let kind = if child.content.is_some() { 8 } else { 4 };
            body.u64(at as u64 + 1).u64(at as u64 + 1).u32(name.len() as u32).u32(kind).0.extend_from_slice(name.as_bytes());
            body.0.resize(end, 0);
        }
    }
}
