//! Ways out of the sandbox, tried. Each is tried without a sandbox first, so that a test that could not fail does not pass.

use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};

use serde_json::{Value, json};

use crate::support::{Place, has_landlock, off, python, sandboxed, write};

/// Tries what its arguments say, `what=argument`, and prints what came of each: `ok`, or the error.
const TRY: &str = r"
import ctypes, json, os, socket, sys, tempfile
TMP = tempfile.mkdtemp()
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def tcp(address):
    host, port = address.rsplit(':', 1)
    socket.create_connection((host, int(port)), timeout=2).close()
def fastopen(address):
    host, port = address.rsplit(':', 1)
    s = socket.socket()
    s.sendto(b'x', 0x20000000, (host, int(port)))
def mptcp(address):
    host, port = address.rsplit(':', 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    s.settimeout(2)
    s.connect((host, int(port)))
def udp(address):
    host, port = address.rsplit(':', 1)
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (host, int(port)))
def unix(path):
    socket.socket(socket.AF_UNIX).connect(path)
def unixgram(path):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', path)
def pairgram(path):
    a, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.connect(path)
def pairraw(path):
    a, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)
    a.sendto(b'x', path)
def pair(_):
    a, b = socket.socketpair()
    a.sendall(b'x')
    assert b.recv(1) == b'x'
TRIES = {
    'unix': unix, 'unixgram': unixgram, 'pairgram': pairgram, 'pairraw': pairraw, 'pair': pair,
    'read': lambda path: open(path).read(),
    'list': os.listdir,
    'write': lambda path: open(path, 'w').write('x'),
    'append': lambda path: open(path, 'a').write('x'),
    'delete': os.unlink,
    'link': lambda path: (os.symlink(path, TMP + '/link'), open(TMP + '/link').read()),
    'hardlink': lambda path: (os.link(path, TMP + '/hard'), open(TMP + '/hard').read()),
    'execute': lambda path: os.spawnv(os.P_WAIT, path, [path]) and 1/0,
    'tcp': tcp, 'fastopen': fastopen, 'mptcp': mptcp, 'udp': udp,
    'raw': lambda _: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    'packet': lambda _: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    'signal': lambda pid: os.kill(int(pid), 0),
    'memory': lambda pid: open(f'/proc/{pid}/mem', 'rb'),
    'environ': lambda pid: open(f'/proc/{pid}/environ').read(),
    'root': lambda pid: os.listdir(f'/proc/{pid}/root/'),
    'ptrace': lambda pid: call(101 if os.uname().machine == 'x86_64' else 117, 16, int(pid), 0, 0),
    'vm_readv': lambda pid: call(310 if os.uname().machine == 'x86_64' else 270, int(pid), 0, 0, 0, 0, 0),
    'unshare': lambda _: call(272 if os.uname().machine == 'x86_64' else 97, 0x10000000),
    'clone': lambda _: os.waitpid(call(56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0), 0) if os.uname().machine == 'x86_64' else 1/0,
    'mount': lambda _: call(165 if os.uname().machine == 'x86_64' else 40, b'none', TMP.encode(), b'tmpfs', 0, 0),
    'io_uring': lambda _: call(425, 1, ctypes.create_string_buffer(200)),
    'bpf': lambda _: call(321 if os.uname().machine == 'x86_64' else 280, 0, ctypes.create_string_buffer(b'\1\0\0\0\4\0\0\0\4\0\0\0\1', 128), 128),
    'file': lambda size: open(TMP + '/big', 'wb').truncate(int(size)),
    'mknod': lambda _: os.mknod(TMP + '/node', 0o600 | 0o020000, os.makedev(1, 1)),
}
came = {}
for argument in sys.argv[1:]:
    what, _, value = argument.partition('=')
    try:
        TRIES[what](value)
        came[argument] = 'ok'
    except OSError as error:
        came[argument] = error.strerror or str(error)
print(json.dumps(came))
";

/// What came of each.
async fn tried(place: &Place, sandbox: &Value, tries: &[&str]) -> Value {
    let (text, ended) = place.run(&sandboxed(python(TRY, tries), sandbox)).await;
    serde_json::from_str(text.trim()).unwrap_or_else(|_| panic!("{ended}: {text}"))
}

/// All of these work without a sandbox, and none of them in it.
async fn refused(place: &Place, sandbox: &Value, tries: &[&str]) {
    let free = tried(place, &json!("off"), tries).await;
    let held = tried(place, sandbox, tries).await;
    for what in tries {
        assert_eq!(free[what], "ok", "{what} cannot be tried here: {free}");
        assert_ne!(held[what], "ok", "{what} is possible: {held}");
    }
    println!("{held}");
}

#[tokio::test]
async fn s04_keys_of_the_home_directory_cannot_be_read() {
    if !has_landlock(1) {
        return;
    }
    let place = Place::new();
    let home = std::env::home_dir().unwrap();
    let ssh = tempfile::Builder::new()
        .prefix(".canary")
        .tempdir_in(&home)
        .unwrap();
    let key = ssh.path().join("id_ed25519");
    write(&key, "canary-key");
    let (key, folder, home) = (key.display(), ssh.path().display(), home.display());
    let tries = [
        format!("read={key}"),
        format!("list={folder}"),
        format!("list={home}"),
        format!("link={key}"),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    refused(&place, &json!({}), &tries).await;
}

#[tokio::test]
async fn s04_the_gateways_own_files_are_hidden_where_the_folder_is_allowed() {
    if !has_landlock(1) {
        return;
    }
    let mut place = Place::new();
    let (config, master, data) = (
        place.path("srv/config.yaml"),
        place.path("state/master_key"),
        place.path("srv/data.txt"),
    );
    for file in [&config, &master, &data] {
        write(file, "canary");
    }
    place.setup.hidden.push(config.clone());
    let sandbox = json!({"read": [place.path("srv"), place.path("state")], "write": [place.path("srv")]});
    let paths = [&config, &master, &data].map(|path| path.display().to_string());
    let [config, master, data] = paths;
    let tries = [
        format!("read={config}"),
        format!("append={config}"),
        format!("read={master}"),
        format!("hardlink={config}"),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    refused(&place, &sandbox, &tries).await;
    let came = tried(
        &place,
        &sandbox,
        &[&format!("read={data}"), &format!("append={data}")],
    )
    .await;
    assert!(
        came.as_object().unwrap().values().all(|came| came == "ok"),
        "{came}"
    );
}

#[tokio::test]
async fn s04_nothing_is_written_outside() {
    if !has_landlock(1) {
        return;
    }
    let place = Place::new();
    let (open, readable) = (place.path("open/file"), place.path("readable/file"));
    write(&open, "x");
    write(&readable, "x");
    let own = place.path("state/programs/test/home/file");
    let sandbox = json!({"read": [readable.parent()], "write": [open.parent()]});
    let readable = readable.display();
    let tries = [
        format!("append={readable}"),
        format!("write={readable}.new"),
        format!("write={}", place.path("new").display()),
        "append=/etc/hosts".to_owned(),
        format!("append={}", place.path("state/x").display()),
        format!("delete={readable}"),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    // Without a sandbox a part is not tried: it would change this machine, or be undone by what comes before.
    let held = tried(&place, &sandbox, &tries).await;
    assert!(
        held.as_object()
            .unwrap()
            .values()
            .all(|came| came == "Permission denied"),
        "{held}"
    );
    let allowed = [
        format!("append={}", open.display()),
        format!("write={}", own.display()),
        format!("read={readable}"),
        "write=/dev/null".to_owned(),
        "read=/etc/hosts".to_owned(),
        "read=/proc/self/status".to_owned(),
    ];
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let came = tried(&place, &sandbox, &allowed).await;
    assert!(
        came.as_object().unwrap().values().all(|came| came == "ok"),
        "{came}"
    );
}

#[tokio::test]
async fn s32_the_metadata_service_and_the_gateway_cannot_be_reached() {
    if !has_landlock(4) {
        return;
    }
    let mut place = Place::new();
    let (gateway, allowed, other) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let [gateway_at, allowed_at, other_at] = [&gateway, &allowed, &other].map(|l| l.local_addr().unwrap());
    place.setup.own_ports = vec![gateway_at.port()];
    let sandbox = json!({"ports": [allowed_at.port(), gateway_at.port()]});
    let tries = [
        format!("tcp={gateway_at}"),
        format!("tcp={other_at}"),
        format!("fastopen={other_at}"),
        format!("mptcp={other_at}"),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    refused(&place, &sandbox, &tries).await;
    // There is no such service here: what counts is that the kernel refuses before anything is sent.
    let allowed = format!("tcp={allowed_at}");
    let came = tried(
        &place,
        &sandbox,
        &["tcp=169.254.169.254:80", "tcp=169.254.170.2:80", &allowed],
    )
    .await;
    assert_eq!(came["tcp=169.254.169.254:80"], "Permission denied", "{came}");
    assert_eq!(came["tcp=169.254.170.2:80"], "Permission denied", "{came}");
    assert_eq!(came[&allowed], "ok", "{came}");
    let came = tried(&place, &json!({}), &["tcp=169.254.169.254:80", &allowed]).await;
    assert!(
        came.as_object()
            .unwrap()
            .values()
            .all(|came| came == "Permission denied"),
        "{came}"
    );
}

#[tokio::test]
async fn s32_no_network_is_none() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    // In a folder that it may read and write: no rule about files is asked when a socket is connected to.
    let (stream, datagrams) = (place.path("open/stream"), place.path("open/datagrams"));
    std::fs::create_dir(place.path("open")).unwrap();
    let _stream = UnixListener::bind(&stream).unwrap();
    let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
    let tries = [
        format!("tcp={at}"),
        format!("udp={at}"),
        format!("mptcp={at}"),
        format!("fastopen={at}"),
        format!("unix={}", stream.display()),
        format!("unixgram={}", datagrams.display()),
        format!("pairgram={}", datagrams.display()),
        format!("pairraw={}", datagrams.display()),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let sandbox = json!({"network": "deny", "read": [place.path("open")], "write": [place.path("open")]});
    refused(&place, &sandbox, &tries).await;
    let metadata = [
        "tcp=169.254.169.254:80",
        "udp=169.254.169.254:53",
        "raw",
        "packet",
    ];
    let came = tried(&place, &sandbox, &metadata).await;
    for what in metadata {
        assert_eq!(came[what], "Permission denied", "{came}");
    }
    // What runtimes talk to their children through.
    let came = tried(&place, &sandbox, &["pair"]).await;
    assert_eq!(came["pair"], "ok", "{came}");
}

#[tokio::test]
async fn s04_other_processes_are_out_of_reach() {
    if !has_landlock(6) {
        return;
    }
    let place = Place::new();
    let own = std::process::id();
    let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let pid = other.id();
    let tries = [
        format!("signal={pid}"),
        format!("signal={own}"),
        format!("environ={pid}"),
        format!("memory={pid}"),
        format!("root={pid}"),
        format!("ptrace={pid}"),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    refused(&place, &json!({}), &tries).await;
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn s04_system_calls_that_lead_out_are_refused() {
    let place = Place::new();
    let all = [
        "ptrace=1",
        "vm_readv=1",
        "unshare",
        "clone",
        "mount",
        "io_uring",
        "bpf",
        "raw",
        "packet",
        "mknod",
    ];
    let held = tried(&place, &json!({}), &all).await;
    for what in all {
        assert!(
            [
                "Operation not permitted",
                "Function not implemented",
                "Permission denied"
            ]
            .contains(&held[what].as_str().unwrap_or_default()),
            "{what}: {held}"
        );
    }
    // What can be done here without a sandbox is what the sandbox refuses.
    let free = tried(&place, &json!("off"), &["unshare", "clone", "io_uring"]).await;
    println!("without a sandbox: {free}");
    assert!(
        free.as_object().unwrap().values().any(|came| came == "ok"),
        "{free}"
    );
}

#[tokio::test]
async fn s04_large_files_are_refused() {
    let place = Place::new();
    let big = format!("file={}", 3 << 20);
    let small = format!("file={}", 1 << 20);
    // SIGXFSZ ends a program; this interpreter ignores it.
    let came = tried(&place, &json!({"max_file_mb": 2}), &[&big, &small]).await;
    assert_eq!(
        (&came[&big], &came[&small]),
        (&json!("File too large"), &json!("ok")),
        "{came}"
    );
}

#[tokio::test]
async fn s04_root_gets_no_privileges() {
    let place = Place::new();
    let script = "print(open('/proc/self/status').read())";
    let (text, _) = place.run(&python(script, &[])).await;
    let bits = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    // chown, dac_override, fowner, fsetid.
    let files = 0b1_1011;
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(bits(name) & !files, 0, "{text}");
    }
    if rustix::process::getuid().is_root() {
        assert_eq!(bits("CapBnd") & !files, 0, "{text}");
        let (text, _) = place.run(&off(python(script, &[]))).await;
        assert!(
            !text.contains("CapEff:\t0000000000000000"),
            "there was something to give up"
        );
    }
}
