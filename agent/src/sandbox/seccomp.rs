//! System calls that no task needs and that a taken-over one would want.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::SandboxError;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused whatever their arguments.
const REFUSED: &[i64] = &[
    // Handles reach any file of a file system, past every directory.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    // Programs: a worker never runs one.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Kernel surface.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_fanotify_init,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_fork, libc::SYS_vfork, 467 /* open_tree_attr */];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[467 /* open_tree_attr */];

const CLONE_NEWTIME: i32 = 0x80;

/// On x86-64 the same calls have a second number (the x32 ABI), under the same architecture mark.
const X32_BIT: i64 = 0x4000_0000;

/// Installs the filter for this thread, before it starts another one.
pub(super) fn apply() -> Result<(), SandboxError> {
    let own_pid = u64::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or(0);
    let failed = |error: &dyn std::fmt::Display| SandboxError::Filter(format!("seccomp: {error}"));
    // clone3 hides its flags from the filter: "not there" makes the C library use clone.
    let absent = Rules::from([(libc::SYS_clone3, Vec::new())]);
    let refused = refused(own_pid).map_err(|error| failed(&error))?;
    for (rules, errno) in [(absent, libc::ENOSYS), (refused, libc::EPERM)] {
        let program = compile(rules, errno).map_err(|error| failed(&error))?;
        seccompiler::apply_filter(&program).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn refused(own_pid: u64) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    // No new process and no new namespace: clone makes threads only.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![Condition::new(0, Length::Qword, Op::MaskedEq(thread), 0)?])?]);
    // A thread may have a working directory of its own (the mover's way to name a symlink's attributes), no namespace.
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
        CLONE_NEWTIME,
    ];
    let any_namespace = namespaces
        .into_iter()
        .map(|flag| u64::from(flag.unsigned_abs()))
        .map(|flag| SeccompRule::new(vec![Condition::new(0, Length::Qword, Op::MaskedEq(flag), flag)?]))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_unshare, any_namespace);
    // abort() signals its own process; nobody else's.
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![Condition::new(0, Length::Dword, Op::Ne, own_pid)?])?]);
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![Condition::new(0, Length::Dword, Op::Ne, 0)?])?]);
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];
    let other_family = families
        .into_iter()
        .map(|family| Condition::new(0, Length::Dword, Op::Ne, u64::from(family.unsigned_abs())))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(other_family)?]);
    Ok(rules)
}

fn compile(mut rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    if cfg!(target_arch = "x86_64") {
        let numbers: Vec<i64> = rules.keys().copied().collect();
        rules.extend(numbers.into_iter().map(|number| (number | X32_BIT, Vec::new())));
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()
}
