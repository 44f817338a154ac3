//! What every worker does first, with or without a sandbox.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, setrlimit};

/// Room beside the task's own byte budget: code, stacks, TLS, the runtime, allocator slack.
const OVERHEAD_BYTES: u64 = 256 * 1024 * 1024;

/// Dies with the agent, leaves no core (it holds keys), and cannot be traced by a neighbour of the same user.
pub(crate) fn harden(parent_pid: i32) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The agent may have died before the line above: then the parent is somebody else already.
    if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZeroI32::get) != Some(parent_pid) {
        return Err(Errno::SRCH);
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}

/// A last resort against a runaway: twice the budget and the overhead. The task itself stays within its budget.
pub(crate) fn limit_memory(budget_bytes: u64) -> Result<(), Errno> {
    let bytes = budget_bytes.saturating_mul(2).saturating_add(OVERHEAD_BYTES);
    setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) })
}
