//! What a program gets, and why it does not start.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trunkline_launch::{Cause, LaunchError};
use trunkline_model::{Degree, Secret};

use crate::support::{Place, has_landlock, off, program, python, sandboxed, sh, write};

#[tokio::test]
async fn a_program_reads_and_writes_through_its_pipes() {
    let place = Place::new();
    for case in [program("cat", &[]), off(program("cat", &[]))] {
        let mut running = place.start(&case).await;
        running.stdin.write_all(b"{\"id\":1}\n").await.unwrap();
        let mut answer = [0; 9];
        running.stdout.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"{\"id\":1}\n");
        drop(running.stdin);
        let ended = running.control.wait().await;
        assert_eq!((ended.code, ended.cause), (Some(0), Cause::Itself));
        assert_eq!(running.control.wait().await, ended, "said again");
        let mut rest = Vec::new();
        running.stdout.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "its end is seen");
    }
}

#[tokio::test]
async fn the_environment_is_clean() {
    let place = Place::new();
    let mut case = sh("env; echo cwd=$(pwd)");
    case.env.insert("TOKEN".into(), Secret::new("t 1"));
    case.env.insert("TERM".into(), Secret::new("own"));
    let (text, _) = place.run(&case).await;
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.retain(|name| !name.starts_with("LC_"));
    let known = [
        "PATH",
        "HOME",
        "TMPDIR",
        "TMP",
        "TEMP",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TERM",
        "USER",
        "LOGNAME",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "TOKEN",
        "cwd",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NODE_EXTRA_CA_CERTS",
        "PYENV_ROOT",
        "NVM_DIR",
        "VOLTA_HOME",
        "RUSTUP_HOME",
    ];
    let others: Vec<&&str> = names.iter().filter(|name| !known.contains(name)).collect();
    // `cargo` sets CARGO_… for tests: none of it is here.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(others.is_empty(), "{others:?}");
    assert!(text.contains("TOKEN=t 1") && text.contains("TERM=own"), "{text}");
    let home = place.path("state/programs/test/home");
    assert!(text.contains(&format!("HOME={}", home.display())), "{text}");
    assert!(text.contains(&format!("cwd={}", home.display())), "{text}");
}

#[tokio::test]
async fn no_descriptor_but_three() {
    let place = Place::new();
    // Without the flag that closes it at `exec`: what a library might forget.
    let leaky = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
    for case in [
        python("import os; print(sorted(os.listdir('/proc/self/fd')))", &[]),
        off(python(
            "import os; print(sorted(os.listdir('/proc/self/fd')))",
            &[],
        )),
    ] {
        let (text, _) = place.run(&case).await;
        // The fourth is the folder that is being listed.
        assert_eq!(text.trim(), "['0', '1', '2', '3']");
    }
}

#[tokio::test]
async fn signals_are_as_in_any_process() {
    let place = Place::new();
    let (text, _) = place.run(&sh("grep -E '^Sig(Blk|Ign)' /proc/self/status")).await;
    for line in text.lines() {
        // Those of the C library are not counted.
        assert!(
            u64::from_str_radix(line.split_once(":\t").unwrap().1, 16)
                .unwrap()
                .trailing_zeros()
                >= 31,
            "{text}"
        );
    }
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[tokio::test]
async fn b75_why_a_program_does_not_start() {
    let place = Place::new();
    let folder = place.folder.path();
    let script = |name: &str, text: &str, mode: u32| {
        let path = folder.join(name);
        write(&path, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let plain = script("plain", "x", 0o644);
    let orphan = script("orphan", "#!/no/such/interpreter\n", 0o755);
    for (command, expected) in [
        (
            "no-such-program",
            "command not found: no-such-program (looked for in PATH ",
        ),
        (
            "npx -y x",
            "command not found: npx -y x (arguments belong into `args`",
        ),
        ("", "command not found: "),
        (plain.as_str(), "is not executable: its mode has no execute bit"),
        (
            orphan.as_str(),
            "is not executable: the interpreter that it names (#!) is not there",
        ),
        ("/", "is not executable: it is no file"),
    ] {
        let error = place.launcher().spawn(&program(command, &[])).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{command}: {error}");
    }
    let mut case = sh("true");
    case.cwd = Some(folder.join("nowhere"));
    let error = place.launcher().spawn(&case).await.unwrap_err();
    assert!(matches!(error, LaunchError::Cwd { .. }), "{error}");
    let case = sandboxed(sh("true"), &json!({"write": ["/no/such/folder"]}));
    let error = place.launcher().spawn(&case).await.unwrap_err().to_string();
    assert!(error.contains("write: /no/such/folder cannot be used"), "{error}");
}

#[tokio::test]
async fn what_is_enforced_is_said_before_and_after() {
    if !has_landlock(6) {
        return;
    }
    let place = Place::new();
    let launcher = place.launcher();
    let case = sh("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status");
    let running = place.start(&case).await;
    assert_eq!(
        launcher.isolation(&case.sandbox),
        running.isolation,
        "what is foretold is what comes"
    );
    let enforced = running.isolation.enforced.join("; ");
    for part in [
        "landlock abi",
        "seccomp",
        "no_new_privs",
        "tcp: ports 53, 443",
        "64 processes",
    ] {
        assert!(enforced.contains(part), "{part}: {}", running.isolation.summary());
    }
    assert_eq!(
        running.isolation.degree,
        Degree::Full,
        "{}",
        running.isolation.summary()
    );
    let (text, _) = place.run(&case).await;
    assert!(
        text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"),
        "{text}"
    );

    let case = off(sh("true"));
    let isolation = place.start(&case).await.isolation;
    assert_eq!(isolation.degree, Degree::None);
    assert!(
        isolation.summary().contains("sandbox: off"),
        "{}",
        isolation.summary()
    );
    assert_eq!(launcher.isolation(&case.sandbox), isolation);
}

#[tokio::test]
async fn folders_in_arguments_are_pointed_out() {
    let place = Place::new();
    let data = place.path("data");
    std::fs::create_dir(&data).unwrap();
    let data = data.display().to_string();
    let case = program("cat", &[&data]);
    let hints = place.launcher().hints(&case);
    assert_eq!(hints.len(), 1, "{hints:?}");
    assert!(
        hints[0].contains("args[0]") && hints[0].contains("sandbox.read"),
        "{hints:?}"
    );
    let case = sandboxed(program("cat", &[&data]), &json!({"read": [data]}));
    assert!(place.launcher().hints(&case).is_empty());
}

#[tokio::test]
async fn an_installed_package_finds_those_beside_it() {
    let place = Place::new();
    let script = place.path("node_modules/@scope/own/dist/index.py");
    write(
        &script,
        "import sys; print(open(sys.path[0] + '/../../../other/index.txt').read())",
    );
    write(&place.path("node_modules/@scope/own/package.json"), "{}");
    write(&place.path("node_modules/other/index.txt"), "of another package");
    write(&place.path("outside.txt"), "x");
    let (text, _) = place
        .run(&program("python3", &[&script.display().to_string()]))
        .await;
    assert_eq!(text.trim(), "of another package");
    if has_landlock(1) {
        write(
            &script,
            "import sys; open(sys.path[0] + '/../../../../outside.txt')",
        );
        let (text, _) = place
            .run(&program("python3", &[&script.display().to_string()]))
            .await;
        assert!(text.contains("PermissionError"), "{text}");
    }
}

/// pyenv, nodenv, rbenv, asdf: what is in the `PATH` is a script that looks up what it starts.
#[tokio::test]
async fn a_version_managers_script_finds_what_it_starts() {
    let place = Place::new();
    let shim = place.path("manager/shims/tool");
    write(
        &shim,
        "#!/bin/sh\nroot=$(dirname \"$0\")/..\nexec \"$root/versions/$(cat \"$root/version\")/bin/tool\"",
    );
    let tool = place.path("manager/versions/7/bin/tool");
    write(
        &tool,
        "#!/bin/sh\ncat \"$(dirname \"$0\")/../lib/text\"; cat \"$(dirname \"$0\")/../../../../outside\"",
    );
    for file in [&shim, &tool] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    write(&place.path("manager/version"), "7");
    write(&place.path("manager/versions/7/lib/text"), "of version 7");
    write(&place.path("outside"), "not of the manager");
    let (text, _) = place.run(&program(&shim.display().to_string(), &[])).await;
    assert!(text.contains("of version 7"), "{text}");
    assert!(!has_landlock(1) || !text.contains("not of the manager"), "{text}");
}
