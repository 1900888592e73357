//! Kernels that can less than this one. The watcher is started behind a filter that answers as they do: what is not
//! enforced is said, before and after, and what they can is still enforced.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use trunkline_launch::Cause;
use trunkline_model::Degree;

use crate::support::{Place, alive, off, python, sandboxed, sh, write};

/// Becomes the helper on a kernel that answers some system calls with an error: each is `number error`, and, where only one
/// first argument is meant, that too.
const LESS: &str = r"
import ctypes, os, struct, sys
program = b''
def step(code, jt, jf, k):
    global program
    program += struct.pack('=HBBI', code, jt, jf, k)
for number, error, first in CALLS:
    # Load the number; the first argument too, where it counts; answer; else go on.
    step(0x20, 0, 0, 0)
    if first is None:
        step(0x15, 0, 1, number)
    else:
        step(0x15, 0, 3, number)
        step(0x20, 0, 0, 16)
        step(0x15, 0, 1, first)
    step(0x06, 0, 0, 0x00050000 | error)
step(0x06, 0, 0, 0x7fff0000)
text = ctypes.create_string_buffer(program)
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
word = ctypes.c_ulong
assert libc.prctl(38, word(1), word(0), word(0), word(0)) == 0
argument = Program(len(program) // 8, ctypes.addressof(text))
assert libc.prctl(22, word(2), ctypes.byref(argument), word(0), word(0)) == 0, os.strerror(ctypes.get_errno())
os.execv(HELPER, [HELPER, *sys.argv[1:]])
";

const ENOSYS: i32 = 38;
const EOPNOTSUPP: i32 = 95;
const EINVAL: i32 = 22;

/// A place on such a kernel. `calls`: number, error, first argument.
fn place(calls: &[(u32, i32, Option<u32>)]) -> Place {
    let mut place = Place::new();
    let calls: Vec<String> = calls
        .iter()
        .map(|(number, error, first)| {
            let first = first.map_or_else(|| "None".to_owned(), |first| first.to_string());
            format!("({number}, {error}, {first})")
        })
        .collect();
    let calls = calls.join(", ");
    let helper = format!("HELPER = {}\n", json!(place.setup.executable));
    // A watcher has no `PATH` to look for an interpreter in.
    let python = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    let text = format!("#!{}\nCALLS = [{calls}]\n{helper}{LESS}", python.trim());
    let script = place.path("less");
    write(&script, &text);
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.setup.executable = script;
    place
}

/// As it is without Landlock: never built in (`ENOSYS`), or not among the `lsm=` of the boot (`EOPNOTSUPP`).
fn without_landlock(error: i32) -> Place {
    place(&[444, 445, 446].map(|number| (number, error, None)))
}

/// As it is without seccomp: `prctl(PR_SET_SECCOMP)` and `seccomp()`.
fn without_seccomp() -> Place {
    let (seccomp, prctl) = if cfg!(target_arch = "x86_64") {
        (317, 157)
    } else {
        (277, 167)
    };
    place(&[(seccomp, ENOSYS, None), (prctl, EINVAL, Some(22))])
}

#[tokio::test]
async fn s04_a_kernel_without_landlock_is_said_and_the_rest_is_enforced() {
    for (error, words) in [
        (ENOSYS, "this kernel has no Landlock, which came with Linux 5.13"),
        (EOPNOTSUPP, "this kernel has Landlock switched off"),
    ] {
        let place = without_landlock(error);
        let script = "import os; print(open('/proc/self/status').read()); os.kill(os.getppid(), 9)";
        let case = python(script, &[]);
        let running = place.start(&case).await;
        let isolation = running.isolation.clone();
        let foretold = place.launcher().isolation(&case.sandbox);
        assert_eq!(foretold, isolation, "what is foretold is what comes");
        assert_eq!(isolation.degree, Degree::Partial, "{}", isolation.summary());
        let missing = isolation.missing.join("; ");
        for part in [
            "files are not confined",
            words,
            "TCP ports are not confined",
            "the metadata service and this gateway can be reached",
            "may outrun the watcher",
        ] {
            assert!(missing.contains(part), "{part}: {missing}");
            assert!(
                isolation.summary().contains(part),
                "{part}: {}",
                isolation.summary()
            );
        }
        let enforced = isolation.enforced.join("; ");
        assert!(
            !enforced.contains("landlock") && !enforced.contains("tcp"),
            "{enforced}"
        );
        drop(running);

        // What needs none of it: privileges, system calls, and the watcher, whom a program does not get rid of.
        let (text, _) = place.run(&case).await;
        assert!(
            text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"),
            "{text}"
        );
        assert!(text.contains("PermissionError"), "{text}");
    }
}

#[tokio::test]
async fn s32_no_network_is_none_without_landlock_too() {
    let place = without_landlock(ENOSYS);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let script =
        "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print('connected')";
    let (free, _) = place.run(&off(python(script, &[&port]))).await;
    assert_eq!(free.trim(), "connected");
    let denied = sandboxed(python(script, &[&port]), &json!({"network": "deny"}));
    let (text, _) = place.run(&denied).await;
    assert!(text.contains("PermissionError"), "{text}");
    let isolation = place.launcher().isolation(&denied.sandbox);
    assert!(
        isolation.enforced.join("; ").contains("network: none"),
        "{}",
        isolation.summary()
    );
    assert!(
        !isolation.missing.join("; ").contains("TCP ports"),
        "{}",
        isolation.summary()
    );
}

#[tokio::test]
async fn b76_families_end_without_landlock_too() {
    let place = without_landlock(ENOSYS);
    let script = "import os, signal, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.execvp('sleep', ['sleep', '86420'])
        time.sleep(60)
print('ready', flush=True)
os.execvp('sleep', ['sleep', '86420'])";
    let mut running = place.start(&python(script, &["family-86420"])).await;
    let mut ready = [0; 6];
    running.stdout.read_exact(&mut ready).await.unwrap();
    assert!(!alive("86420").is_empty());
    let begin = Instant::now();
    running.stop(Duration::from_millis(100)).await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(alive("86420"), [0; 0]);

    let bomb =
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        os.setsid()\ntime.sleep(60)\n";
    let case = sandboxed(python(bomb, &["bomb-86421"]), &json!({"max_processes": 20}));
    let mut running = place.start(&case).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), running.wait())
        .await
        .unwrap_or_else(|_| panic!("it goes on"));
    assert_eq!(ended.cause, Cause::Processes(20));
    assert_eq!(alive("bomb-86421"), [0; 0]);
}

#[tokio::test]
async fn s04_a_kernel_without_seccomp_is_said_and_no_network_is_not_promised() {
    let place = without_seccomp();
    let case = sh("cat /proc/self/status");
    let running = place.start(&case).await;
    let isolation = running.isolation.clone();
    assert_eq!(place.launcher().isolation(&case.sandbox), isolation);
    assert_ne!(isolation.degree, Degree::Full, "{}", isolation.summary());
    let missing = isolation.missing.join("; ");
    assert!(missing.contains("system calls cannot be filtered"), "{missing}");
    // The only thing that could keep this promise is not there: no start is better than a network.
    let denied = sandboxed(case, &json!({"network": "deny"}));
    let error = place.launcher().spawn(&denied).await.unwrap_err().to_string();
    assert!(error.contains("`network: deny` cannot be enforced"), "{error}");
}
