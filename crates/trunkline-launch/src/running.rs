//! A program that runs, and how it ended.

use std::fmt;
use std::time::Duration;

use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use trunkline_model::Isolation;

/// A program that runs. When [`Running::control`] is dropped, it is killed with all its descendants.
#[derive(Debug)]
pub struct Running {
    /// What it reads. Closing it is how MCP tells a server to end.
    pub stdin: ChildStdin,
    /// What it writes.
    pub stdout: ChildStdout,
    /// What it writes for people.
    pub stderr: ChildStderr,
    /// Its process id.
    pub pid: u32,
    /// What is enforced.
    pub isolation: Isolation,
    /// What probably keeps it from working ([`Launcher::hints`](crate::Launcher::hints)).
    pub hints: Vec<String>,
    /// Its life. A part of its own, so that the pipes can be moved elsewhere.
    pub control: Control,
}

impl Running {
    /// Waits until it and all its descendants have ended. Cancel-safe.
    pub async fn wait(&mut self) -> Ended {
        self.control.wait().await
    }

    /// Ends it: `SIGTERM` to it and all its descendants, `SIGKILL` after `grace`. Returns when nobody is left.
    pub async fn stop(&mut self, grace: Duration) {
        self.control.stop(grace).await;
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why.
    pub cause: Cause,
}

/// Why a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By itself.
    Itself,
    /// It was told to.
    Stopped,
    /// It had more processes than this.
    Processes(u32),
    /// It had more threads than this.
    Threads(u32),
    /// It used more memory than this, MiB.
    Memory(u32),
    /// The watcher is gone, and the program with it.
    Lost,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Itself => {}
            Cause::Stopped => return f.write_str("was stopped"),
            Cause::Processes(most) => {
                return write!(
                    f,
                    "was killed: more than {most} processes (sandbox.max_processes)"
                );
            }
            Cause::Threads(most) => {
                return write!(
                    f,
                    "was killed: more than {most} threads (32 times sandbox.max_processes)"
                );
            }
            Cause::Memory(most) => {
                return write!(
                    f,
                    "was killed: more than {most} MiB of memory (sandbox.max_memory_mb)"
                );
            }
            Cause::Lost => return f.write_str("was killed with its watcher"),
        }
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "ended with exit code {code}"),
            // Not named by what sent it: a limit of the kernel's, another program, or itself.
            (None, Some(signal)) => write!(f, "was ended by signal {signal}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

#[cfg(target_os = "linux")]
pub use linux::Control;
#[cfg(not(target_os = "linux"))]
pub use portable::Control;

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt as _, BufReader, Lines};
    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

    use super::{Cause, Ended};
    use crate::order::{Command, Said, Why, line};

    /// The gateway's end of the socket to a watcher. Dropping it kills the program and all its descendants.
    #[derive(Debug)]
    pub struct Control {
        pub(crate) said: Lines<BufReader<OwnedReadHalf>>,
        pub(crate) orders: Option<OwnedWriteHalf>,
        pub(crate) ended: Option<Ended>,
    }

    impl Control {
        /// Waits until the program and all its descendants have ended. Cancel-safe.
        pub async fn wait(&mut self) -> Ended {
            if let Some(ended) = self.ended {
                return ended;
            }
            let lost = Ended {
                code: None,
                signal: None,
                cause: Cause::Lost,
            };
            loop {
                let Ok(Some(text)) = self.said.next_line().await else {
                    return *self.ended.insert(lost);
                };
                if let Ok(Said::Ended { code, signal, cause }) = serde_json::from_str(&text) {
                    let cause = cause.into();
                    return *self.ended.insert(Ended { code, signal, cause });
                }
            }
        }

        /// Ends the program: `SIGTERM` to it and all its descendants, `SIGKILL` after `grace`. Returns when nobody is
        /// left.
        pub async fn stop(&mut self, grace: Duration) {
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            if let Some(orders) = &mut self.orders {
                let _ = orders.write_all(&line(&Command::Stop { grace_ms })).await;
            }
            let patience = grace.saturating_add(Duration::from_secs(2));
            if tokio::time::timeout(patience, self.wait()).await.is_err() {
                // It does not answer: what is left of the socket tells it that the gateway is gone.
                self.orders = None;
            }
        }
    }

    impl From<Why> for Cause {
        fn from(why: Why) -> Self {
            match why {
                Why::Itself => Self::Itself,
                Why::Stopped => Self::Stopped,
                Why::Processes(most) => Self::Processes(most),
                Why::Threads(most) => Self::Threads(most),
                Why::Memory(most) => Self::Memory(most),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::time::Duration;

    use tokio::process::Child;

    use super::{Cause, Ended};

    /// A program without a watcher. Dropping it kills the program alone.
    #[derive(Debug)]
    pub struct Control {
        pub(crate) child: Child,
        pub(crate) stopped: bool,
    }

    impl Control {
        /// Waits until the program has ended. Cancel-safe.
        pub async fn wait(&mut self) -> Ended {
            let status = self.child.wait().await;
            let cause = if self.stopped {
                Cause::Stopped
            } else {
                Cause::Itself
            };
            #[cfg(unix)]
            let signal = {
                use std::os::unix::process::ExitStatusExt as _;
                status.as_ref().ok().and_then(|status| status.signal())
            };
            #[cfg(not(unix))]
            let signal = None;
            Ended {
                code: status.ok().and_then(|status| status.code()),
                signal,
                cause,
            }
        }

        /// Ends the program; there is no way to ask it first but to close its standard input.
        pub async fn stop(&mut self, grace: Duration) {
            self.stopped = true;
            if tokio::time::timeout(grace, self.child.wait()).await.is_err() {
                let _ = self.child.kill().await;
            }
        }
    }
}
