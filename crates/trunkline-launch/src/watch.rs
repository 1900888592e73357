//! The watcher: parent of one program, and of whatever descends from it.
//!
//! It has one thread, holds nothing of the program's (its ends of the pipes are given away), and waits for five things:
//! words of the gateway, the end of the gateway, the end of children, the report of the confined step, and the clock.
//! It ends when it has no children any more, and not before.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command as Process, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as Caught};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};

use crate::family::{Family, machine_threads};
use crate::fence::Fence;
use crate::order::{CONFINE, Command, Enforced, Limits, Order, Said, Why, line};
use crate::{confine, report};

/// What is left of a family after its program ended has this long to go by itself.
const AFTERMATH: Duration = Duration::from_millis(500);
/// How often is looked whether something multiplies.
const GLANCE: Duration = Duration::from_millis(100);
/// How often the family is counted in any case.
const COUNT: Duration = Duration::from_secs(1);
/// How often it is killed again while somebody is left.
const AGAIN: Duration = Duration::from_millis(10);
/// Threads of a family for each process that it may have.
const THREADS_EACH: u32 = 32;

pub(crate) fn main() -> ExitCode {
    // The gateway's end of the socket is this process's standard input.
    let Ok(socket) = rustix::stdio::stdin().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let mut gateway = UnixStream::from(socket);
    match watch(&mut gateway) {
        Ok(said) => {
            let _ = gateway.write_all(&line(&said));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = gateway.write_all(&line(&Said::Failed(error)));
            ExitCode::FAILURE
        }
    }
}

fn watch(gateway: &mut UnixStream) -> Result<Said, String> {
    let signals = prepare()?;
    let stdio = receive_stdio(gateway)?;
    let (order, rest) = receive_order(gateway)?;
    let limits = order.limits;
    let confined = order.rules.is_some();
    // A program without a sandbox may signal whom it likes, and it would be behind the fence too.
    let fence = if confined { Fence::raise() } else { None };
    let (main, report) = start(order, stdio)?;
    gateway.set_nonblocking(true).map_err(|error| error.to_string())?;
    let mut watcher = Watcher {
        gateway,
        signals,
        report: Some(report),
        reported: Vec::new(),
        heard: rest,
        main,
        ended: None,
        limits,
        confined,
        fence,
        phase: Phase::Running,
        why: Why::Itself,
        counted: Instant::now(),
        threads: machine_threads().unwrap_or_default(),
        failed: None,
    };
    watcher.run();
    let (code, signal) = watcher.ended.unwrap_or_default();
    Ok(watcher.failed.take().unwrap_or(Said::Ended {
        code,
        signal,
        cause: watcher.why,
    }))
}

/// Becomes the one that orphans fall to, out of reach of the terminal's signals, with all others queued.
fn prepare() -> Result<SignalFd, String> {
    // Fails where it leads a session already, which is as well.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| format!("PR_SET_CHILD_SUBREAPER: {error}"))?;
    let mut caught = SigSet::empty();
    for signal in [
        Caught::SIGCHLD,
        Caught::SIGTERM,
        Caught::SIGINT,
        Caught::SIGHUP,
        Caught::SIGQUIT,
    ] {
        caught.add(signal);
    }
    caught.thread_block().map_err(|error| error.to_string())?;
    SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| error.to_string())
}

/// The program's standard input, output and error: they come with the first byte.
fn receive_stdio(gateway: &UnixStream) -> Result<[OwnedFd; 3], String> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        gateway.as_fd(),
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(|error| error.to_string())?;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    descriptors
        .try_into()
        .map_err(|_| "the program's pipes did not come".to_owned())
}

/// The first line, and what was read after it.
fn receive_order(gateway: &mut UnixStream) -> Result<(Order, Vec<u8>), String> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let rest = text.split_off(end + 1);
            let order = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            return Ok((order, rest));
        }
        match gateway.read(&mut part) {
            Ok(0) => return Err("the gateway is gone".to_owned()),
            Ok(length) => text.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Starts the confined step. Returns it, and what it reports on.
fn start(order: Order, stdio: [OwnedFd; 3]) -> Result<(Pid, std::fs::File), String> {
    let (report, end) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| error.to_string())?;
    // Inherited on purpose, and by this one child: this process has one thread.
    rustix::io::fcntl_setfd(&end, rustix::io::FdFlags::empty()).map_err(|error| error.to_string())?;
    let number = {
        use std::os::fd::AsRawFd as _;
        end.as_raw_fd().to_string()
    };
    let mut rules = order.rules;
    let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    if let Some(rules) = &mut rules {
        rules.guarded.push(own);
    }
    let rules = serde_json::to_string(&rules).map_err(|error| error.to_string())?;
    let [input, output, errors] = stdio;
    let child = Process::new("/proc/self/exe")
        .arg(CONFINE)
        .args([confine::own_pid(), number, rules])
        .arg(&order.file)
        .arg(&order.command)
        .args(&order.args)
        .env_clear()
        .envs(order.env)
        .current_dir(&order.cwd)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .spawn()
        .map_err(|error| format!("the confined step cannot be started: {error}"))?;
    drop(end);
    // Where it may: a program that multiplies must not leave the watcher without a turn.
    let _ = rustix::process::setpriority_process(None, -10);
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let report = std::fs::File::from(report);
    Ok((main.ok_or("the program has no pid")?, report))
}

/// How far it is.
enum Phase {
    Running,
    /// Asked to go, until then.
    Asked(Instant),
    /// Killed until nobody is left.
    Killing,
}

struct Watcher<'a> {
    gateway: &'a mut UnixStream,
    signals: SignalFd,
    /// Until the confined step became the program.
    report: Option<std::fs::File>,
    reported: Vec<u8>,
    /// Of the gateway, not yet a line.
    heard: Vec<u8>,
    main: Pid,
    /// Exit code and signal of the program.
    ended: Option<(Option<i32>, Option<i32>)>,
    limits: Limits,
    confined: bool,
    fence: Option<Fence>,
    phase: Phase,
    why: Why,
    counted: Instant,
    /// Of the machine, when the family was counted last.
    threads: u64,
    /// What to say in place of the end.
    failed: Option<Said>,
}

impl Watcher<'_> {
    fn run(&mut self) {
        loop {
            self.pause();
            self.hear();
            self.read_report();
            while let Ok(Some(signal)) = self.signals.read_signal() {
                if signal.ssi_signo != Caught::SIGCHLD as u32 {
                    self.ask(Duration::from_secs(2), Why::Stopped);
                }
            }
            if self.reap() {
                return;
            }
            match self.phase {
                Phase::Running => self.count(),
                Phase::Asked(until) if Instant::now() >= until => self.phase = Phase::Killing,
                Phase::Asked(_) => {}
                Phase::Killing => self.kill(),
            }
        }
    }

    /// All of them: at once where that can be, else one after the other, again and again until nobody is left.
    fn kill(&self) {
        match &self.fence {
            Some(fence) => fence.kill(),
            None => Family::signal(self.group(), Signal::KILL),
        }
    }

    /// Until something happens, or the clock says so.
    fn pause(&mut self) {
        let wait = match self.phase {
            Phase::Running => GLANCE,
            Phase::Asked(until) => until.saturating_duration_since(Instant::now()).min(GLANCE),
            Phase::Killing => AGAIN,
        };
        let timeout = Timespec::try_from(wait).ok();
        let mut waited = vec![PollFd::new(&self.signals, PollFlags::IN)];
        // A socket that has ended is always ready: once that is known there is nothing to hear.
        if !matches!(self.phase, Phase::Killing) {
            waited.push(PollFd::new(&*self.gateway, PollFlags::IN));
        }
        if let Some(report) = &self.report {
            waited.push(PollFd::new(report, PollFlags::IN));
        }
        let _ = poll(&mut waited, timeout.as_ref());
    }

    /// What the gateway says; its end is an order to kill.
    fn hear(&mut self) {
        let mut part = [0; 1024];
        loop {
            match self.gateway.read(&mut part) {
                Ok(0) => {
                    self.phase = Phase::Killing;
                    return;
                }
                Ok(length) => self.heard.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.phase = Phase::Killing;
                    return;
                }
            }
        }
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let rest = self.heard.split_off(end + 1);
            let text = std::mem::replace(&mut self.heard, rest);
            if let Ok(Command::Stop { grace_ms }) = serde_json::from_slice(&text) {
                self.ask(Duration::from_millis(grace_ms), Why::Stopped);
            }
        }
    }

    fn say(&mut self, said: &Said) {
        // Short, and the gateway reads: a socket that is full is one that nobody reads.
        let _ = self.gateway.write_all(&line(said));
    }

    /// What the confined step says; the end of its pipe is `exec`.
    fn read_report(&mut self) {
        let Some(report) = &mut self.report else { return };
        let mut waited = [PollFd::new(&*report, PollFlags::IN)];
        if !matches!(poll(&mut waited, Some(&Timespec::default())), Ok(1)) {
            return;
        }
        let mut part = [0; 4096];
        match report.read(&mut part) {
            Ok(0) => {
                self.report = None;
                self.started();
            }
            Ok(length) => self.reported.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => self.report = None,
        }
    }

    fn started(&mut self) {
        let lines = self.reported.split(|byte| *byte == b'\n');
        let said: Vec<Said> = lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        match said.as_slice() {
            [Said::Confined(enforced)] => {
                let mut enforced: Enforced = enforced.clone();
                if self.confined && self.fence.is_none() {
                    report::unfenced(&mut enforced);
                }
                let pid = self.main.as_raw_nonzero().get().unsigned_abs();
                self.say(&Said::Started { pid, enforced });
            }
            [.., why @ (Said::Refused(_) | Said::NotExecuted(_))] => {
                self.failed = Some(why.clone());
                self.phase = Phase::Killing;
            }
            _ => {
                self.failed = Some(Said::Failed("the confined step ended without a word".to_owned()));
                self.phase = Phase::Killing;
            }
        }
    }

    /// Collects who has ended. True when nobody is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid == self.main {
                        self.main_ended(status);
                    }
                }
                Ok(None) => return false,
                Err(Errno::INTR) => {}
                // No children: also all that could have become one.
                Err(_) => return self.report.is_none() || self.drained(),
            }
        }
    }

    /// The last words of a confined step that is gone.
    fn drained(&mut self) -> bool {
        while self.report.is_some() {
            self.read_report();
        }
        true
    }

    fn main_ended(&mut self, status: WaitStatus) {
        self.ended = Some((status.exit_status(), status.terminating_signal()));
        if matches!(self.phase, Phase::Running) {
            self.ask(AFTERMATH, Why::Itself);
        }
    }

    /// Its process group, as long as its number cannot be anybody else's.
    fn group(&self) -> Option<Pid> {
        self.ended.is_none().then_some(self.main)
    }

    fn ask(&mut self, grace: Duration, why: Why) {
        let until = Instant::now() + grace;
        match self.phase {
            Phase::Running => {
                self.why = why;
                self.phase = Phase::Asked(until);
                if grace.is_zero() {
                    self.phase = Phase::Killing;
                } else {
                    Family::signal(self.group(), Signal::TERM);
                }
            }
            Phase::Asked(before) => self.phase = Phase::Asked(until.min(before)),
            Phase::Killing => {}
        }
    }

    fn count(&mut self) {
        let threads = machine_threads().unwrap_or(u64::MAX);
        let grown = threads.saturating_sub(self.threads) > u64::from(self.limits.processes / 2);
        let calm = self.counted.elapsed() < COUNT;
        if self.limits.processes == 0 || (calm && !grown) {
            return;
        }
        self.counted = Instant::now();
        self.threads = threads;
        let most = self.limits.processes;
        let family = Family::count(usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1));
        let most_threads = most.saturating_mul(THREADS_EACH);
        let memory = self.limits.memory_mb;
        let above = |count: usize, limit: u32| u32::try_from(count).unwrap_or(u32::MAX) > limit;
        let why = if above(family.members.len(), most) {
            Why::Processes(most)
        } else if above(family.threads, most_threads) {
            Why::Threads(most_threads)
        } else if memory > 0 && family.memory_mb() > u64::from(memory) {
            Why::Memory(memory)
        } else {
            return;
        };
        self.why = why;
        self.phase = Phase::Killing;
        self.kill();
    }
}
