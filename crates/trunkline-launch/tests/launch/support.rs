//! A launcher with folders of its own, and what runs in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use trunkline_launch::{Ended, Launcher, Program, Running, Setup};
use trunkline_model::Sandbox;

pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) setup: Setup,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let mut setup = Setup::new(state);
        setup.executable = env!("CARGO_BIN_EXE_launch-helper").into();
        Self { folder, setup }
    }

    pub(crate) fn launcher(&self) -> Launcher {
        Launcher::new(self.setup.clone())
    }

    pub(crate) async fn start(&self, program: &Program) -> Running {
        self.launcher().spawn(program).await.unwrap()
    }

    /// Runs a program to its end. Its output, and its end.
    pub(crate) async fn run(&self, program: &Program) -> (String, Ended) {
        let mut running = self.start(program).await;
        drop(running.stdin);
        let (mut out, mut errors) = (String::new(), String::new());
        let (mut stdout, mut stderr) = (running.stdout, running.stderr);
        let (a, b) = tokio::join!(
            stdout.read_to_string(&mut out),
            stderr.read_to_string(&mut errors)
        );
        a.and(b).unwrap();
        let ended = running.control.wait().await;
        if !errors.is_empty() {
            out = format!("{out}{errors}");
        }
        (out, ended)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }
}

pub(crate) fn sh(script: &str) -> Program {
    program("sh", &["-c", script])
}

pub(crate) fn program(command: &str, args: &[&str]) -> Program {
    Program {
        command: command.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
        sandbox: Sandbox::default(),
        name: "test".to_owned(),
    }
}

pub(crate) fn python(script: &str, args: &[&str]) -> Program {
    let all: Vec<&str> = ["-c", script].iter().chain(args).copied().collect();
    program("python3", &all)
}

pub(crate) fn sandboxed(mut program: Program, sandbox: &Value) -> Program {
    program.sandbox = Sandbox::parse(sandbox).unwrap();
    program
}

/// No sandbox in the way of what is tested.
pub(crate) fn off(program: Program) -> Program {
    sandboxed(program, &json!("off"))
}

/// Whether this kernel has Landlock, at least of this version. Asked of the kernel, not of what is tested. A test that needs
/// more than there is says so, and fails with `CI=true`.
pub(crate) fn has_landlock(version: i32) -> bool {
    const ASK: &str = "import ctypes; print(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))";
    let output = std::process::Command::new("python3")
        .args(["-c", ASK])
        .output()
        .unwrap();
    let found: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    if found < version {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "Landlock {version} is needed, this kernel has {found}, and CI=true"
        );
        eprintln!("SKIPPED: Landlock {version} is needed, this kernel has {found}");
    }
    found >= version
}

/// Processes of this machine whose command line holds `mark`.
pub(crate) fn alive(mark: &str) -> Vec<i32> {
    let own = std::process::id();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| pid.unsigned_abs() != own)
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .collect()
}

pub(crate) async fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < patience, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begin.elapsed()
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
