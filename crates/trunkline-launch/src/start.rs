//! From a program to a watcher that runs it.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use trunkline_model::{Isolation, Network, Ports, Sandbox, SandboxRules};

use crate::environment::{self, Private};
use crate::folders::Folders;
use crate::order::{self, Limits, Order, PROBE, Rules, Said, WATCH};
use crate::paths::{self, Granted};
use crate::running::Control;
use crate::{LaunchError, Launcher, Program, Running, Setup, find};

/// From the order to `exec`: some milliseconds, unless the machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program's ends of its pipes, and ours.
struct Pipes {
    theirs: [OwnedFd; 3],
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Pipes {
    fn new() -> std::io::Result<Self> {
        let (input, stdin) = std::io::pipe()?;
        let (stdout, output) = std::io::pipe()?;
        let (stderr, errors) = std::io::pipe()?;
        Ok(Self {
            theirs: [input.into(), output.into(), errors.into()],
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
    }
}

impl Launcher {
    pub(crate) async fn start(&self, program: &Program) -> Result<Running, LaunchError> {
        let order = {
            let (setup, program) = (self.setup.clone(), program.clone());
            tokio::task::spawn_blocking(move || prepare(&setup, &program))
                .await
                .map_err(|error| LaunchError::Sandbox(error.to_string()))??
        };
        let Pipes {
            theirs,
            stdin,
            stdout,
            stderr,
        } = Pipes::new().map_err(LaunchError::io("pipes cannot be made"))?;
        let socket = self.start_watcher(&theirs)?;
        // The watcher has them; as long as they are open here, nobody sees the program's end.
        drop(theirs);
        let (said, mut orders) = socket.into_split();
        let mut said = BufReader::new(said).lines();
        let started = async {
            orders
                .write_all(&order::line(&order))
                .await
                .map_err(LaunchError::io("the watcher does not listen"))?;
            let answer = said
                .next_line()
                .await
                .map_err(LaunchError::io("the watcher does not answer"))?;
            first_word(answer, &order.file)
        };
        let (pid, isolation) = tokio::time::timeout(PATIENCE, started).await.map_err(|_| {
            LaunchError::Sandbox("the watcher did not start the program in time".to_owned())
        })??;
        let unwatched = LaunchError::io("pipes cannot be watched");
        let pipes = || -> std::io::Result<_> {
            Ok((
                ChildStdin::from_std(stdin.into())?,
                ChildStdout::from_std(stdout.into())?,
                ChildStderr::from_std(stderr.into())?,
            ))
        };
        let (stdin, stdout, stderr) = pipes().map_err(unwatched)?;
        Ok(Running {
            stdin,
            stdout,
            stderr,
            pid,
            isolation,
            hints: Vec::new(),
            control: Control {
                said,
                orders: Some(orders),
                ended: None,
            },
        })
    }

    /// Starts a watcher and gives it the program's pipes.
    fn start_watcher(&self, theirs: &[OwnedFd; 3]) -> Result<tokio::net::UnixStream, LaunchError> {
        let (own, watcher) = UnixStream::pair().map_err(LaunchError::io("a socket cannot be made"))?;
        let mut child = tokio::process::Command::new(&self.setup.executable)
            .arg(WATCH)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(watcher)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(LaunchError::io("the watcher cannot be started"))?;
        tokio::spawn(async move {
            // Collected when it ends; what it has to say comes through the socket.
            let _ = child.wait().await;
        });
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let [input, output, errors] = theirs;
        let descriptors = [input.as_fd(), output.as_fd(), errors.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        rustix::net::sendmsg(&own, &[IoSlice::new(b"!")], &mut control, SendFlags::NOSIGNAL)
            .map_err(|error| LaunchError::io("the watcher does not listen")(error.into()))?;
        own.set_nonblocking(true)
            .and_then(|()| tokio::net::UnixStream::from_std(own))
            .map_err(LaunchError::io("a socket cannot be watched"))
    }

    pub(crate) fn try_out(&self, sandbox: &Sandbox) -> Isolation {
        let Sandbox::On(rules) = sandbox else {
            return Isolation::none("nothing is confined: the server says `sandbox: off`");
        };
        let rules = rules_of(rules, Granted::default(), &self.setup);
        let Ok(text) = serde_json::to_string(&rules) else {
            return Isolation::none("the rules cannot be written");
        };
        let output = std::process::Command::new(&self.setup.executable)
            .args([PROBE, &text])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let said = output.map(|output| serde_json::from_slice(&output.stdout));
        match said {
            Ok(Ok(Said::Confined(enforced))) => enforced.into(),
            Ok(Ok(Said::Refused(why))) => Isolation::none(format!("programs cannot be started: {why}")),
            Ok(_) => Isolation::none("it could not be found out: the process that tries it gave no answer"),
            Err(error) => Isolation::none(format!("it could not be found out: {error}")),
        }
    }

    pub(crate) fn find_hints(&self, program: &Program) -> Vec<String> {
        let Sandbox::On(rules) = &program.sandbox else {
            return Vec::new();
        };
        let Ok(file) = find::find(&program.command, program.cwd.as_deref()) else {
            return Vec::new();
        };
        let folders = Folders::of(&self.setup.state_dir, &program.name);
        paths::of(program, &file, rules, &folders, &self.setup.hidden)
            .map(|granted| paths::hints(program, &granted))
            .unwrap_or_default()
    }
}

/// What the watcher said first.
fn first_word(answer: Option<String>, file: &Path) -> Result<(u32, Isolation), LaunchError> {
    let said = answer.and_then(|text| serde_json::from_str(&text).ok());
    match said {
        Some(Said::Started { pid, enforced }) => Ok((pid, enforced.into())),
        Some(Said::Refused(why) | Said::Failed(why)) => Err(LaunchError::Sandbox(why)),
        Some(Said::NotExecuted(number)) => {
            let error = std::io::Error::from_raw_os_error(number);
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "the interpreter that it names (#!) is not there".to_owned(),
                std::io::ErrorKind::PermissionDenied => {
                    format!("{error}; its interpreter may be where the sandbox hides it: see `sandbox.read`")
                }
                _ => error.to_string(),
            };
            let file = file.to_owned();
            Err(LaunchError::NotExecutable { file, reason })
        }
        _ => Err(LaunchError::Sandbox(
            "the watcher ended without a word".to_owned(),
        )),
    }
}

/// Everything that is found out before something is started.
fn prepare(setup: &Setup, program: &Program) -> Result<Order, LaunchError> {
    if let Some(folder) = &program.cwd
        && !folder.is_dir()
    {
        return Err(LaunchError::Cwd {
            folder: folder.clone(),
        });
    }
    let file = find::find(&program.command, program.cwd.as_deref())?;
    let (env, cwd, rules) = match &program.sandbox {
        Sandbox::Off => {
            let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
            (
                environment::of(program, None),
                program.cwd.clone().unwrap_or_else(here),
                None,
            )
        }
        Sandbox::On(rules) => {
            let folders = Folders::make(&setup.state_dir, &program.name)
                .map_err(LaunchError::io("the program's private folder cannot be made"))?;
            let granted = paths::of(program, &file, rules, &folders, &setup.hidden)?;
            let private = Private {
                home: &folders.home,
                tmp: &folders.tmp,
            };
            let env = environment::of(program, Some(&private));
            let cwd = program.cwd.clone().unwrap_or(folders.home);
            (env, cwd, Some(rules_of(rules, granted, setup)))
        }
    };
    Ok(Order {
        file,
        command: program.command.clone(),
        args: program.args.clone(),
        env: order::texts(env),
        cwd,
        limits: rules.as_ref().map_or_else(Limits::default, |rules| Limits {
            processes: rules.max_processes,
            memory_mb: rules.max_memory_mb,
        }),
        rules,
    })
}

fn rules_of(rules: &SandboxRules, granted: Granted, setup: &Setup) -> Rules {
    let ports = |ports: &Ports| {
        let each = ports.each()?;
        Some(each.filter(|port| !setup.own_ports.contains(port)).collect())
    };
    let Granted { read, list, write } = granted;
    Rules {
        network: rules.network == Network::Allow,
        ports: ports(&rules.ports),
        read,
        list,
        write,
        max_processes: rules.max_processes,
        max_memory_mb: rules.max_memory_mb,
        max_file_mb: rules.max_file_mb,
        max_open_files: rules.max_open_files,
        guarded: vec![std::process::id()],
    }
}
