//! The system calls that a confined program is refused, as seccomp filters.
//!
//! It is a list of what is refused, not of what is allowed: interpreters use most of what there is, and a program that
//! breaks on the next version of its runtime is switched to `sandbox: off`. What is on it looks into other processes,
//! changes the machine, makes namespaces, or goes around another rule:
//!
//! - `io_uring` makes sockets that no filter sees.
//! - Multipath TCP, SCTP, and data in the first packet (`MSG_FASTOPEN`) connect without the check of TCP ports.
//! - `clone3` hides its flags in memory; C libraries go on with `clone` when it is not there.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Why there is no filter.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The filters for a program. `guarded`: processes that it may not signal.
pub(crate) fn filters(network: bool, guarded: &[u32]) -> Result<Vec<BpfProgram>, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules: Rules, errno: i32| -> Result<BpfProgram, Error> {
        let refuse = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
        Ok(BpfProgram::try_from(filter)?)
    };
    let mut filters = vec![
        filter(forbidden(guarded)?, libc::EPERM)?,
        filter(all(&ABSENT), libc::ENOSYS)?,
        filter(sockets(network)?, libc::EACCES)?,
        filter(detours()?, libc::EPROTONOSUPPORT)?,
    ];
    if cfg!(target_arch = "x86_64") {
        filters.push(no_x32());
    }
    Ok(filters)
}

/// Installs them for this thread, and all that it becomes.
pub(crate) fn install(filters: &[BpfProgram]) -> Result<(), Error> {
    for filter in filters {
        seccompiler::apply_filter(filter)?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Answered as if the kernel had none of it, so that whoever tries goes another way.
const ABSENT: [i64; 4] = [
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Not in every C library's list.
const KEXEC_FILE_LOAD: i64 = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// `TIOCSTI` and `TIOCLINUX`, typing into a terminal: their type differs between C libraries.
const TYPING: [u64; 2] = [0x5412, 0x541c];

/// Refused whatever the arguments are.
const FORBIDDEN: [i64; 46] = [
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // the kernel
    libc::SYS_bpf,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_lookup_dcookie,
    // the machine
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // file systems and namespaces
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
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
];

fn all(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn forbidden(guarded: &[u32]) -> Result<Rules, Error> {
    let mut rules = all(&FORBIDDEN);
    #[cfg(target_arch = "x86_64")]
    rules.extend(all(&[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt]));
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWCGROUP,
    ];
    let mut clone = Vec::new();
    for flag in namespaces {
        clone.push(SeccompRule::new(vec![bits(0, flag.unsigned_abs())?])?);
    }
    rules.insert(libc::SYS_clone, clone);
    let mut ioctl = Vec::new();
    for request in TYPING {
        ioctl.push(SeccompRule::new(vec![equal(1, request)?])?);
    }
    rules.insert(libc::SYS_ioctl, ioctl);
    for call in [
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_tgkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_open,
    ] {
        let mut rule = Vec::new();
        for pid in guarded {
            rule.push(SeccompRule::new(vec![equal(0, u64::from(*pid))?])?);
        }
        if call == libc::SYS_kill {
            // Everybody.
            rule.push(SeccompRule::new(vec![equal(0, u64::from(u32::MAX))?])?);
        }
        if !rule.is_empty() {
            rules.insert(call, rule);
        }
    }
    Ok(rules)
}

/// Which families of sockets there are. Without a network there is none, UNIX sockets included: behind their paths are
/// Docker, the session bus and the machine's logs, and no rule about files is asked when they are connected to. What is left
/// is the pair that runtimes talk to their children through; of datagrams it would be as good as a socket, because it can be
/// connected again.
fn sockets(network: bool) -> Result<Rules, Error> {
    if !network {
        let pairs = [libc::SOCK_DGRAM, libc::SOCK_RAW]
            .into_iter()
            .map(|kind| Ok(SeccompRule::new(vec![kind_of_socket(kind)?])?))
            .collect::<Result<_, Error>>()?;
        return Ok(BTreeMap::from([
            (libc::SYS_socket, Vec::new()),
            (libc::SYS_socketpair, pairs),
        ]));
    }
    let mut others = Vec::new();
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] {
        others.push(different(0, family.unsigned_abs())?);
    }
    let mut rules = vec![SeccompRule::new(others)?];
    // Of netlink, asking for addresses and routes.
    rules.push(SeccompRule::new(vec![
        equal(0, u64::from(libc::AF_NETLINK.unsigned_abs()))?,
        different(2, libc::NETLINK_ROUTE.unsigned_abs())?,
    ])?);
    for family in [libc::AF_INET, libc::AF_INET6] {
        // Raw packets and all that is neither a stream nor a datagram.
        for kind in [
            libc::SOCK_RAW,
            libc::SOCK_RDM,
            libc::SOCK_SEQPACKET,
            SOCK_DCCP,
            SOCK_PACKET,
        ] {
            rules.push(SeccompRule::new(vec![
                equal(0, u64::from(family.unsigned_abs()))?,
                kind_of_socket(kind)?,
            ])?);
        }
    }
    Ok(BTreeMap::from([(libc::SYS_socket, rules)]))
}

const SOCK_DCCP: i32 = 6;
const SOCK_PACKET: i32 = 10;

/// Ways to connect that the check of TCP ports does not see.
fn detours() -> Result<Rules, Error> {
    let mut streams = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        streams.push(SeccompRule::new(vec![
            equal(0, u64::from(family.unsigned_abs()))?,
            kind_of_socket(libc::SOCK_STREAM)?,
            different(2, 0)?,
            different(2, libc::IPPROTO_TCP.unsigned_abs())?,
        ])?);
    }
    let mut rules = BTreeMap::from([(libc::SYS_socket, streams)]);
    let fast_open = libc::MSG_FASTOPEN.unsigned_abs();
    for (call, argument) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        rules.insert(call, vec![SeccompRule::new(vec![bits(argument, fast_open)?])?]);
    }
    Ok(rules)
}

fn equal(argument: u8, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        value,
    )?)
}

fn different(argument: u8, value: u32) -> Result<SeccompCondition, Error> {
    let (value, length) = (u64::from(value), SeccompCmpArgLen::Dword);
    Ok(SeccompCondition::new(argument, length, SeccompCmpOp::Ne, value)?)
}

/// All of these bits are set.
fn bits(argument: u8, mask: u32) -> Result<SeccompCondition, Error> {
    let mask = u64::from(mask);
    let (length, operator) = (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask));
    Ok(SeccompCondition::new(argument, length, operator, mask)?)
}

/// The type of a socket without its flags.
fn kind_of_socket(kind: i32) -> Result<SeccompCondition, Error> {
    let (length, operator) = (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf));
    Ok(SeccompCondition::new(
        1,
        length,
        operator,
        u64::from(kind.unsigned_abs()),
    )?)
}

/// The second table of calls that some x86 kernels have has the same architecture and other numbers: refused whole.
fn no_x32() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    let step = |code: u32, jt: u8, jf: u8, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    vec![
        // The number of the call is the first member.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
