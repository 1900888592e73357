//! The built binary in a process of its own.
//!
//! ```no_run
//! # use trunkline_testkit::{ScriptedUpstream, Signal, TestGateway};
//! # async fn example() {
//! let upstream = ScriptedUpstream::start().await;
//! let config = format!("mcp_servers:\n  files:\n    url: {}\n", upstream.url());
//! let mut gateway = TestGateway::builder().config(&config).start().await;
//! let mut client = gateway.mcp();
//! client.initialize().await;
//! assert_eq!(client.tool_names().await, ["files-echo"]);
//! assert_eq!(gateway.stop(Signal::Term).await.code, Some(0));
//! # }
//! ```

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::HttpClient;
use crate::mcp::McpClient;
use crate::process::{Exit, Process, Signal};
use crate::{Canary, locate};

/// A debug build on a busy machine takes its time; a gateway that is slower than this is broken.
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// Says how a gateway is started.
#[derive(Clone, Debug)]
pub struct GatewayBuilder {
    binary: Option<PathBuf>,
    config: Option<String>,
    env: Vec<(OsString, OsString)>,
    args: Vec<String>,
    data_dir: Option<PathBuf>,
    master_key: Option<String>,
    host: String,
}

/// A gateway that ended before it served.
#[derive(Debug)]
pub struct StartFailure {
    /// How it ended.
    pub exit: Exit,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exit, stdout, stderr } = self;
        write!(
            f,
            "the gateway did not start: {exit:?}\n--- stdout ---\n{stdout}--- stderr ---\n{stderr}"
        )
    }
}

impl std::error::Error for StartFailure {}

impl GatewayBuilder {
    fn new() -> Self {
        Self {
            binary: None,
            config: None,
            env: Vec::new(),
            args: Vec::new(),
            data_dir: None,
            master_key: Some(Canary::key("master").value().to_owned()),
            host: "127.0.0.1".to_owned(),
        }
    }

    /// The text of its config.yaml. Without one, `--config` is left out.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// An environment variable. None of this process's reach the gateway but `PATH`, `RUST_LOG` and
    /// `LLVM_PROFILE_FILE`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.set_env(name, value);
        self
    }

    fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
    }

    /// One more argument of `serve`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.args.push(argument.to_owned());
        self
    }

    /// A data directory that outlives the gateway; otherwise it has one of its own.
    #[must_use]
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data_dir = Some(path.to_owned());
        self
    }

    /// `DATABASE_URL`
    #[must_use]
    pub fn database_url(self, url: &str) -> Self {
        self.env("DATABASE_URL", url)
    }

    /// `LITELLM_MASTER_KEY`; a strong one of its own unless set. `None`: the variable is not set, and the clients
    /// carry no credential.
    #[must_use]
    pub fn master_key(mut self, key: Option<&str>) -> Self {
        self.master_key = key.map(str::to_owned);
        self
    }

    /// The address to listen on; `127.0.0.1` unless set.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Another binary than the one that was built with the tests.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// Starts it and waits until it is alive.
    ///
    /// # Panics
    /// When it does not get there; shows its output.
    pub async fn start(self) -> TestGateway {
        self.try_start()
            .await
            .unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Starts it and waits until it is alive, or has ended.
    ///
    /// # Panics
    /// When it does neither within 30 s.
    pub async fn try_start(self) -> Result<TestGateway, StartFailure> {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut gateway = TestGateway {
            builder: self,
            home,
            process: None,
            port: 0,
            started_in: Duration::ZERO,
        };
        gateway.launch().await?;
        Ok(gateway)
    }

    /// The binary with the environment of the gateway, to run another command of it. `home` stands for the user's.
    fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(self.binary.clone().unwrap_or_else(locate::binary));
        command.env_clear().env("HOME", home).current_dir(home);
        for name in ["PATH", "RUST_LOG", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(key) = &self.master_key {
            command.env("LITELLM_MASTER_KEY", key);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the binary to its end, such as `["config", "check", FILE]`, with the environment of the
    /// gateway and an empty home.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn run(&self, args: &[&str]) -> Output {
        let home = tempfile::tempdir().expect("a temporary directory");
        run(self.command(home.path()), args).await
    }
}

async fn run(mut command: Command, args: &[&str]) -> Output {
    command.args(args).stdin(Stdio::null());
    // Not on the runtime: the command may call servers that this very test runs.
    let output = tokio::task::spawn_blocking(move || command.output());
    output
        .await
        .expect("the command does not panic")
        .expect("the binary can be run")
}

/// A running gateway. Dropping it kills the process and removes its data directory.
#[derive(Debug)]
pub struct TestGateway {
    builder: GatewayBuilder,
    home: TempDir,
    process: Option<Process>,
    port: u16,
    started_in: Duration,
}

impl TestGateway {
    /// How it is started is said first.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::new()
    }

    /// With this config.yaml, and else as it comes.
    pub async fn start(config: &str) -> Self {
        Self::builder().config(config).start().await
    }

    async fn launch(&mut self) -> Result<(), StartFailure> {
        let began = Instant::now();
        let mut command = self.builder.command(self.home.path());
        command
            .arg("serve")
            .args(["--host", &self.builder.host])
            .args(["--port", &self.port.to_string()]);
        command.arg("--data-dir").arg(self.data_dir());
        if let Some(config) = &self.builder.config {
            let path = self.config_path();
            std::fs::write(&path, config).expect("write the configuration");
            command.arg("--config").arg(path);
        }
        command.args(&self.builder.args);

        let mut process = Process::spawn("trunkline", &mut command);
        let fail = |exit, process: &Process| StartFailure {
            exit,
            stdout: process.stdout(),
            stderr: process.stderr(),
        };
        let address = match process.wait_for_line("listening on http://", START_LIMIT).await {
            Ok(rest) => rest,
            Err(exit) => return Err(fail(exit, &process)),
        };
        let port = address
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        self.port = port.unwrap_or_else(|| panic!("no port in `{address}`"));
        self.process = Some(process);
        let alive = async || {
            let probe = http::Request::get("/health/liveliness")
                .body(bytes::Bytes::new())
                .expect("a request");
            self.anonymous()
                .try_send(probe)
                .await
                .is_ok_and(|reply| reply.status.is_success())
        };
        crate::eventually("the gateway is alive", START_LIMIT, alive).await;
        self.started_in = began.elapsed();
        Ok(())
    }

    // === Where it is ===

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.builder
            .data_dir
            .clone()
            .unwrap_or_else(|| self.home.path().join("data"))
    }

    /// Its config.yaml; there only when it was given one.
    pub fn config_path(&self) -> PathBuf {
        self.home.path().join("config.yaml")
    }

    /// The key that the clients carry.
    ///
    /// # Panics
    /// When it has none.
    pub fn master_key(&self) -> &str {
        self.builder
            .master_key
            .as_deref()
            .expect("the gateway was started with a master key")
    }

    /// From the start of the process to the first answer.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    // === Clients ===

    /// A client with the master key.
    pub fn client(&self) -> HttpClient {
        match &self.builder.master_key {
            Some(key) => self
                .anonymous()
                .with_header("authorization", &format!("Bearer {key}")),
            None => self.anonymous(),
        }
    }

    /// A client with no credential.
    pub fn anonymous(&self) -> HttpClient {
        HttpClient::new(&self.url())
    }

    /// An MCP client of `/mcp` with the master key.
    pub fn mcp(&self) -> McpClient {
        self.mcp_at("/mcp")
    }

    /// An MCP client of another path, such as `/github/mcp`.
    pub fn mcp_at(&self, path: &str) -> McpClient {
        McpClient::over(self.client(), path)
    }

    // === The process ===

    /// What it logged so far (stderr); kept over a restart for the new process only.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// Waits until its log has `text` in it: what a process wrote before it answered is read by a thread of the test's own, at its
    /// own time.
    ///
    /// # Panics
    /// After ten seconds, with the log.
    pub async fn says(&self, text: &str) {
        let began = std::time::Instant::now();
        while !self.log().contains(text) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{text:?} is not in the log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it printed so far (stdout).
    pub fn stdout(&self) -> String {
        self.process.as_ref().map(Process::stdout).unwrap_or_default()
    }

    /// Memory in use (resident), in bytes.
    ///
    /// # Panics
    /// When it is not running, or there is no `/proc`.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        let kilobytes: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kB");
        kilobytes * 1024
    }

    /// Processor time that it has used, to a hundredth of a second.
    ///
    /// # Panics
    /// When it is not running, or there is no `/proc`.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("/proc");
        // The name in brackets may have anything in it; `utime` and `stime` are the twelfth and thirteenth after it.
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let ticks = rest.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Sends a signal and does not wait.
    ///
    /// # Panics
    /// When it is not running.
    pub fn signal(&self, signal: Signal) {
        self.process().send(signal);
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Panics
    /// When it is not running, or has not ended a minute later.
    pub async fn stop(&mut self, signal: Signal) -> Exit {
        self.process().send(signal);
        self.wait().await
    }

    /// Waits for the end. Its log stays readable.
    ///
    /// # Panics
    /// When it was never started, or has not ended a minute later.
    pub async fn wait(&mut self) -> Exit {
        self.process
            .as_mut()
            .expect("the gateway was started")
            .wait(STOP_LIMIT)
            .await
    }

    /// `kill -9`, without a say.
    pub async fn kill9(&mut self) {
        self.stop(Signal::Kill).await;
    }

    /// Stops it cleanly when it runs, and starts it again: same port, same data, same configuration, unless changed
    /// with [`TestGateway::set_config`] or [`TestGateway::set_env`].
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.try_restart()
            .await
            .unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// The same, where the start may fail.
    pub async fn try_restart(&mut self) -> Result<(), StartFailure> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            self.stop(Signal::Term).await;
        }
        self.process = None;
        self.launch().await
    }

    /// Another config.yaml, for the next start.
    pub fn set_config(&mut self, text: &str) {
        self.builder.config = Some(text.to_owned());
    }

    /// Another environment variable, for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.builder.set_env(name, value);
    }

    /// Another binary, for the next start.
    pub fn set_binary(&mut self, path: &Path) {
        self.builder.binary = Some(path.to_owned());
    }

    /// Runs a command of the binary to its end, with the environment of the gateway; `args` as typed. Give it
    /// `--data-dir` where the command takes one.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn run(&self, args: &[&str]) -> Output {
        run(self.builder.command(self.home.path()), args).await
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the gateway was started")
    }
}
