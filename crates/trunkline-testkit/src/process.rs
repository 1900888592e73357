//! A child process whose output is kept, and which does not outlive the test.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Output beyond this is cut at the front: enough for any log a test reads, too little to fill the memory.
const KEPT_OUTPUT: usize = 16 * 1024 * 1024;

/// A signal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// What a supervisor sends first.
    Term,
    /// Ctrl-C.
    Int,
    /// "Read your configuration again".
    Hup,
    /// The end, without a say.
    Kill,
    /// Stops the process where it is.
    Stop,
    /// Goes on after [`Signal::Stop`].
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// From when the end was asked for until it came.
    pub took: Duration,
}

/// A running child. Dropping it kills the child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Kept,
    stderr: Kept,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// # Panics
    /// When the program cannot be started.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", command.get_program().display()));
        let (stdout, stderr) = (Kept::of(child.stdout.take()), Kept::of(child.stderr.take()));
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The two outputs with a heading, to show in a failure.
    pub(crate) fn output(&self) -> String {
        format!(
            "--- {} stdout ---\n{}--- stderr ---\n{}",
            self.name,
            self.stdout(),
            self.stderr()
        )
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn send(&self, signal: Signal) {
        // The shell's `kill` is in every POSIX shell; the system call itself would need unsafe code.
        let command = format!("kill -{} {}", signal.name(), self.pid());
        let status = Command::new("sh")
            .args(["-c", &command])
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok(), "sh: {status:?}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `limit`; shows its output.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Exit {
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let took = began.elapsed();
                self.stdout.drain().await;
                self.stderr.drain().await;
                let (code, signal) = (status.code(), status.signal());
                return Exit { code, signal, took };
            }
            assert!(
                began.elapsed() < limit,
                "{} has not ended within {limit:?}\n{}",
                self.name,
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for a line on either output that has `marker` in it, and gives what follows the marker.
    ///
    /// # Errors
    /// When it ends before that.
    ///
    /// # Panics
    /// When there is none within `limit`; shows the output.
    pub(crate) async fn wait_for_line(&mut self, marker: &str, limit: Duration) -> Result<String, Exit> {
        let began = Instant::now();
        loop {
            let running = self.is_running();
            for output in [self.stdout(), self.stderr()] {
                // Only whole lines: what follows the marker may be cut in a line that is being written.
                let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
                if let Some((_, rest)) = whole.split_once(marker) {
                    return Ok(rest.lines().next().unwrap_or_default().to_owned());
                }
            }
            if !running {
                return Err(self.wait(limit).await);
            }
            assert!(
                began.elapsed() < limit,
                "{}: no `{marker}` within {limit:?}\n{}",
                self.name,
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// An output and the thread that reads it.
#[derive(Debug)]
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Kept {
    /// Reads an output to its end, on a thread: a full pipe would stop the child.
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let write = Arc::clone(&bytes);
        let mut pipe = pipe.expect("the outputs are piped");
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut piece) {
                let mut kept = write.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&piece[..length]);
                if kept.len() > KEPT_OUTPUT {
                    let cut = kept.len() - KEPT_OUTPUT / 2;
                    kept.drain(..cut);
                }
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until all is read, after the end of the child. Not for long: a child of the child may hold the pipe.
    async fn drain(&self) {
        for _ in 0..100 {
            if self.reader.is_finished() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
