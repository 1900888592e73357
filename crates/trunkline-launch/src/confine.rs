//! The confined step: a process that gives up what a program must not have, and becomes the program.
//!
//! Order matters: limits and privileges first, then files (Landlock), then system calls (seccomp), because each takes away
//! what the one before needs. What this kernel cannot do is reported and skipped; what it can do and refuses is an error,
//! and the program is not started.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, NetPort,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
    path_beneath_rules,
};
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, setrlimit};

use crate::fence::Fence;
use crate::order::{Enforced, Rules, Said, line};
use crate::report::Tally;
use crate::{capabilities, report, syscalls};

/// Arguments: the watcher's pid, the number of the descriptor to report on, the rules, the file, its arguments from
/// `argv[0]` on.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut text = || arguments.next().and_then(|argument| argument.into_string().ok());
    let (Some(watcher), Some(descriptor), Some(rules), Some(file)) = (text(), text(), text(), text()) else {
        return ExitCode::FAILURE;
    };
    // A pipe can be opened anew; taking the number itself over would be unsafe.
    let Ok(mut report) = File::options()
        .write(true)
        .open(format!("/proc/self/fd/{descriptor}"))
    else {
        return ExitCode::FAILURE;
    };
    close_fds::set_fds_cloexec(3, &[]);
    let mut say = |said: &Said| {
        let _ = report.write_all(&line(said));
    };
    if let Err(error) = stay_with(&watcher) {
        say(&Said::Refused(error));
        return ExitCode::FAILURE;
    }
    let Ok(rules) = serde_json::from_str::<Option<Rules>>(&rules) else {
        say(&Said::Refused("the rules cannot be read".to_owned()));
        return ExitCode::FAILURE;
    };
    match rules.map_or_else(|| Ok(unconfined()), |rules| enforce(&rules)) {
        Ok(enforced) => say(&Said::Confined(enforced)),
        Err(error) => {
            say(&Said::Refused(error));
            return ExitCode::FAILURE;
        }
    }
    let mut command = Command::new(file);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).exec();
    say(&Said::NotExecuted(error.raw_os_error().unwrap_or_default()));
    ExitCode::FAILURE
}

/// Confines itself by the rules in the argument, and says on standard output what came of it.
pub(crate) fn probe(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let rules = arguments
        .next()
        .and_then(|argument| serde_json::from_str::<Rules>(argument.to_str()?).ok());
    let Some(rules) = rules else {
        return ExitCode::FAILURE;
    };
    // As a watcher does before it starts a program.
    let fence = Fence::raise();
    let said = match enforce(&rules) {
        Ok(mut enforced) => {
            if fence.is_none() {
                report::unfenced(&mut enforced);
            }
            Said::Confined(enforced)
        }
        Err(error) => Said::Refused(error),
    };
    match std::io::stdout().write_all(&line(&said)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Dies with the watcher, leads a session and a group of its own, and takes signals as any process does: the watcher has them blocked.
fn stay_with(watcher: &str) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("PR_SET_PDEATHSIG: {error}"))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().to_string());
    if parent.as_deref() != Some(watcher) {
        return Err("the watcher is gone".to_owned());
    }
    // Of its own, so that it does not share the watcher's turn either (the scheduler may group by session).
    rustix::process::setsid().map_err(|error| format!("setsid: {error}"))?;
    SigSet::all()
        .thread_unblock()
        .map_err(|error| format!("signals cannot be unblocked: {error}"))
}

fn unconfined() -> Enforced {
    let mut tally = Tally::default();
    tally.missing("nothing is confined: the server says `sandbox: off`");
    tally.finish()
}

fn enforce(rules: &Rules) -> Result<Enforced, String> {
    let mut tally = Tally::default();
    limits(rules, &mut tally)?;
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;
    tally.done("no_new_privs");
    match capabilities::give_up() {
        Ok(true) => tally.done("capabilities dropped"),
        Ok(false) => {}
        Err(error) => return Err(format!("capabilities cannot be given up: {error}")),
    }
    files(rules, &mut tally)?;
    calls(rules, &mut tally)?;
    Ok(tally.finish())
}

/// Limits of the kernel's per process. What is counted over the whole family is the watcher's.
fn limits(rules: &Rules, tally: &mut Tally) -> Result<(), String> {
    const MIB: u64 = 1 << 20;
    let limits = [
        (Resource::Core, 0),
        (Resource::Fsize, u64::from(rules.max_file_mb) * MIB),
        (Resource::Nofile, u64::from(rules.max_open_files)),
        (Resource::Data, u64::from(rules.max_memory_mb) * MIB),
        // Counted per user over the whole machine: a ceiling behind the watcher's own count. The kernel keeps it for
        // all but the machine's root; root of a container whose users are mapped is another user.
        (
            Resource::Nproc,
            own_threads() + u64::from(rules.max_processes) + NPROC_ROOM,
        ),
    ];
    for (resource, wanted) in limits {
        let now = getrlimit(resource);
        let value = now.maximum.map_or(wanted, |maximum| wanted.min(maximum));
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(resource, limit)
            .map_err(|error| format!("the limit {resource:?} cannot be set: {error}"))?;
    }
    // The first to go where memory is short, before the gateway. Not worth refusing a start for.
    let _ = std::fs::write("/proc/self/oom_score_adj", "300");
    tally.done(format!(
        "at most {} processes, {} MiB memory, {} MiB a file, {} open files",
        rules.max_processes, rules.max_memory_mb, rules.max_file_mb, rules.max_open_files
    ));
    Ok(())
}

/// How much the user's other processes may grow before the ceiling is felt.
const NPROC_ROOM: u64 = 4096;

/// Threads of this user.
fn own_threads() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::getuid().as_raw();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
                && entry.metadata().is_ok_and(|meta| meta.uid() == own)
        })
        .map(|entry| std::fs::read_dir(entry.path().join("task")).map_or(0, |tasks| tasks.count() as u64))
        .sum()
}

/// The newest that is asked for.
const NEWEST: ABI = ABI::V6;

/// Files, TCP ports, signals and abstract sockets: Landlock.
fn files(rules: &Rules, tally: &mut Tally) -> Result<(), String> {
    let status = landlocked(rules).map_err(|error| format!("Landlock: {error}"))?;
    let LandlockStatus::Available {
        effective_abi,
        kernel_abi,
    } = status.landlock
    else {
        let why = match status.landlock {
            LandlockStatus::NotEnabled => {
                "this kernel has Landlock switched off: it belongs into the boot option lsm="
            }
            _ => "this kernel has no Landlock, which came with Linux 5.13",
        };
        tally.missing(format!("files are not confined: {why}"));
        if rules.network && rules.ports.is_some() {
            tally.missing("TCP ports are not confined, for the same reason: the metadata service and this gateway can be reached");
        }
        return Ok(());
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("Landlock is there and was not enforced".to_owned());
    }
    let version = kernel_abi.unwrap_or(effective_abi as i32);
    tally.wall(format!("files: landlock abi {version}"));
    match (rules.network, &rules.ports) {
        (false, _) => {}
        (true, None) => tally.done("tcp: any port"),
        (true, Some(ports)) if effective_abi >= ABI::V4 => {
            tally.done(format!("tcp: ports {}", crate::launcher::ranges(ports)));
        }
        (true, Some(_)) => tally.missing(format!(
            "TCP ports are not confined: that needs Landlock ABI 4 (Linux 6.7), this kernel has {version}; the metadata service and this gateway can be reached"
        )),
    }
    if effective_abi >= ABI::V6 {
        tally.done("signals and abstract sockets: within the program");
    } else {
        tally.missing(format!(
            "other processes of the same user can be signalled: that needs Landlock ABI 6 (Linux 6.12), this kernel has {version}"
        ));
    }
    Ok(())
}

fn landlocked(rules: &Rules) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(BitFlags::<Scope>::all())?;
    let ports = rules.ports.as_ref().filter(|_| rules.network);
    if ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut created: RulesetCreated = ruleset
        .create()?
        .add_rules(path_beneath_rules(&rules.read, AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(&rules.list, BitFlags::from(AccessFs::ReadDir)))?
        .add_rules(path_beneath_rules(&rules.write, AccessFs::from_all(NEWEST)))?;
    for port in ports.into_iter().flatten() {
        created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    created.restrict_self()
}

/// System calls: seccomp. Where it is all that there is against the network, it must work.
fn calls(rules: &Rules, tally: &mut Tally) -> Result<(), String> {
    let installed = syscalls::filters(rules.network, &rules.guarded)
        .and_then(|filters| syscalls::install(&filters))
        .map_err(|error| format!("system calls cannot be filtered: {error}"));
    match installed {
        Ok(()) => tally.wall("system calls: seccomp"),
        Err(error) if rules.network => tally.missing(error),
        Err(error) => return Err(format!("`network: deny` cannot be enforced: {error}")),
    }
    if !rules.network {
        tally.done("network: none, named UNIX sockets included");
    }
    Ok(())
}

/// The parent's pid as text, as [`main`] compares it.
pub(crate) fn own_pid() -> String {
    let pid: Pid = rustix::process::getpid();
    pid.as_raw_nonzero().get().to_string()
}
