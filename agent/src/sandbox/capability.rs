//! The capabilities a task keeps. The table in docs/threat-model.md is this file.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::SandboxError;

/// What a task does to files, which decides its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Works on the backend alone.
    Nothing,
    /// Reads every file of a volume.
    ReadVolume,
    /// Writes every file of a volume, with owners, modes, set-id bits, file capabilities and device nodes.
    WriteVolume,
}

impl Need {
    pub(crate) fn capabilities(self) -> CapabilitySet {
        match self {
            Self::Nothing => CapabilitySet::empty(),
            Self::ReadVolume => CapabilitySet::DAC_READ_SEARCH,
            Self::WriteVolume => {
                CapabilitySet::CHOWN
                    | CapabilitySet::FOWNER
                    | CapabilitySet::FSETID
                    | CapabilitySet::SETFCAP
                    | CapabilitySet::MKNOD
                    | CapabilitySet::DAC_OVERRIDE
            }
        }
    }
}

/// The kernel has 41 capabilities (Linux 6); the bounding set is emptied up to this number, whatever it has.
const CAPABILITY_NUMBERS: u32 = 64;

/// Drops every other capability for good, and changes the ids if the task asks for it.
pub(super) fn reduce(need: Need, ids: Option<(u32, u32)>) -> Result<(), SandboxError> {
    let at = |step| move |errno| SandboxError::System(step, errno);
    let granted = rustix::thread::capabilities(None).map_err(at("read the capabilities"))?.permitted;
    let kept = need.capabilities() & granted;
    empty_bounding_set(kept).map_err(at("reduce the bounding set"))?;
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(SandboxError::System("clear the ambient capabilities", errno)),
    }
    if let Some((uid, gid)) = ids {
        change_ids(uid, gid).map_err(at("change to the user and group that the task names"))?;
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(at("reduce the capabilities"))?;
    set_no_new_privs(true).map_err(at("set no_new_privs"))
}

fn empty_bounding_set(kept: CapabilitySet) -> Result<(), Errno> {
    for number in 0..CAPABILITY_NUMBERS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(one) {
            continue;
        }
        match capability_is_in_bounding_set(one) {
            Ok(true) => remove_capability_from_bounding_set(one)?,
            Ok(false) => {}
            // Beyond the last capability this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn change_ids(uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}
