//! A real file system on a loop device: one that is small, or one whose backing file is cut off behind its back, so that what lay
//! beyond reads as EIO.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct LoopDisk {
    image: PathBuf,
    device: String,
    pub(crate) mounted_at: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl LoopDisk {
    /// An ext4 of `bytes` in `folder`; `None`, and a line that says so, where that cannot be made.
    pub(crate) fn ext4(folder: &Path, name: &str, bytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root for file systems on loop devices");
            return None;
        }
        match Self::make(folder, name, bytes) {
            Ok(disk) => Some(disk),
            Err(reason) => {
                println!("skipped: no file system on a loop device here ({reason})");
                None
            }
        }
    }

    fn make(folder: &Path, name: &str, bytes: u64) -> Result<Self, String> {
        let image = folder.join(format!("{name}.img"));
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        let image_text = image.display().to_string();
        // Without a journal nothing is written by itself, and data lies in the order in which it was written.
        run("mkfs.ext4", &["-q", "-b", "4096", "-m", "0", "-O", "^has_journal", &image_text])?;
        let device = run("losetup", &["-f", "--show", &image_text])?;
        let disk = Self { image, device, mounted_at: folder.join(name) };
        std::fs::create_dir_all(&disk.mounted_at).map_err(|error| error.to_string())?;
        disk.mount("rw")?;
        Ok(disk)
    }

    fn mount(&self, options: &str) -> Result<(), String> {
        run("mount", &["-t", "ext4", "-o", options, &self.device, &self.mounted_at.display().to_string()]).map(drop)
    }

    /// From now on nothing beyond `bytes` can be read: EIO. Nothing is cached.
    pub(crate) fn break_beyond(&self, bytes: u64) {
        run("umount", &[&self.mounted_at.display().to_string()]).unwrap();
        self.mount("ro").unwrap();
        std::fs::OpenOptions::new().write(true).open(&self.image).unwrap().set_len(bytes).unwrap();
        run("blockdev", &["--flushbufs", &self.device]).unwrap();
    }

    /// Bytes that are free.
    pub(crate) fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.mounted_at).unwrap();
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.mounted_at, rustix::mount::UnmountFlags::DETACH);
        let _ = run("losetup", &["-d", &self.device]);
    }
}

/// A tmpfs, for what must write nowhere else.
pub(crate) struct MemoryDisk(PathBuf);

impl MemoryDisk {
    pub(crate) fn mount(at: &Path, options: &std::ffi::CStr) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        match rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), Some(options)) {
            Ok(()) => Some(Self(at.to_owned())),
            Err(error) => {
                println!("skipped: no tmpfs here ({error})");
                None
            }
        }
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
