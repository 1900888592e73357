//! Which files a confined program may use, found before it is started.
//!
//! The rule is a list of what is allowed: system folders, the program with its interpreter and libraries, its private
//! folders, and what the sandbox names. The rest of the disk, the home directory above all, is not there for it. What
//! belongs to the gateway ([`Setup::hidden`](crate::Setup)) is left out even where a folder around it is allowed.

use std::path::{Path, PathBuf};

use trunkline_model::SandboxRules;

use crate::folders::Folders;
use crate::{LaunchError, Program};

/// Readable by every program.
const SYSTEM: [&str; 24] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/home/linuxbrew/.linuxbrew",
    "/snap",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system",
    "/sys/kernel/mm",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/current-system",
    "/run/nscd",
    "/var/lib/ca-certificates",
    "/dev/urandom",
    "/dev/random",
];

/// Devices that every program may use.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// Below the home directory: interpreters and tools, never their credentials.
const TOOLCHAINS: [&str; 22] = [
    ".nvm",
    ".fnm",
    ".local/share/fnm",
    ".volta",
    ".asdf",
    ".local/share/mise",
    ".pyenv",
    ".nodenv",
    ".rbenv",
    ".sdkman",
    ".bun/bin",
    ".deno/bin",
    ".cargo/bin",
    ".rustup/toolchains",
    "go/bin",
    ".local/bin",
    ".local/lib",
    ".local/pipx",
    ".local/share/pipx",
    ".local/share/uv",
    ".local/share/pnpm",
    ".npm-global",
];

/// Readable by root alone, and for nobody's program.
const SECRET: [&str; 9] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/kubernetes",
];

/// Too much to be read because one file in it is a program.
const BROAD: [&str; 9] = [
    "/", "/home", "/root", "/tmp", "/var", "/var/tmp", "/mnt", "/media", "/etc",
];

/// Extensions of what an interpreter is given to run.
const SCRIPTS: [&str; 14] = [
    "py", "pyz", "js", "mjs", "cjs", "ts", "mts", "cts", "rb", "php", "pl", "jar", "sh", "lua",
];

/// What is allowed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Granted {
    pub(crate) read: Vec<PathBuf>,
    pub(crate) list: Vec<PathBuf>,
    pub(crate) write: Vec<PathBuf>,
}

/// What `program`, whose file is `file`, may use.
pub(crate) fn of(
    program: &Program,
    file: &Path,
    rules: &SandboxRules,
    folders: &Folders,
    hidden: &[PathBuf],
) -> Result<Granted, LaunchError> {
    let mut grants = Grants::new(hidden);
    for path in SYSTEM {
        grants.read(Path::new(path));
    }
    // Where a name of the list is a link out of it.
    grants.read(Path::new("/etc/resolv.conf"));
    grants.read(Path::new("/etc/localtime"));
    if let Some(home) = &grants.home.clone() {
        for path in TOOLCHAINS {
            grants.read(&home.join(path));
        }
    }
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"] {
        if let Some(path) = std::env::var_os(name) {
            grants.read(Path::new(&path));
        }
    }
    grants.executable(file, MAX_INTERPRETERS);
    for argument in &program.args {
        grants.argument(argument, program.cwd.as_deref());
    }
    if let Some(cwd) = &program.cwd {
        grants.read(cwd);
    }
    for path in &rules.read {
        exists("read", path)?;
        grants.read(path);
    }
    for path in DEVICES {
        grants.write(Path::new(path));
    }
    for path in &rules.write {
        exists("write", path)?;
        grants.write(path);
    }
    // Below the gateway's data, and the program's all the same.
    grants
        .granted
        .write
        .extend([folders.home.clone(), folders.tmp.clone()]);
    Ok(grants.granted)
}

/// Arguments that name folders which the program will not see: what explains most refusals.
pub(crate) fn hints(program: &Program, granted: &Granted) -> Vec<String> {
    let allowed = |path: &Path| {
        let lists = granted.read.iter().chain(&granted.write);
        lists.into_iter().any(|grant| path.starts_with(grant))
    };
    let mut hints = Vec::new();
    for (index, argument) in program.args.iter().enumerate() {
        // `--root=/srv` names a path, too.
        let value = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => value,
            _ => argument,
        };
        let path = Path::new(value);
        if path.is_absolute() {
            if let Ok(real) = path.canonicalize()
                && !allowed(&real)
            {
                hints.push(format!(
                    "args[{index}] names {value}, which the sandbox hides from the program: add it to `sandbox.read` or `sandbox.write`"
                ));
            }
        } else if program.cwd.is_none() && argument.contains(['/', '.']) && path.is_file() {
            hints.push(format!(
                "args[{index}] {argument:?} is a relative path, and the program starts in its private folder: give `cwd`, or the whole path"
            ));
        }
    }
    hints
}

fn exists(list: &str, path: &Path) -> Result<(), LaunchError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(error) => Err(LaunchError::Sandbox(format!(
            "{list}: {} cannot be used: {error}",
            path.display()
        ))),
    }
}

/// A script, its `env`, its interpreter, and one to spare.
const MAX_INTERPRETERS: u32 = 4;

struct Grants {
    home: Option<PathBuf>,
    hidden: Vec<PathBuf>,
    granted: Granted,
}

impl Grants {
    fn new(hidden: &[PathBuf]) -> Self {
        let real = |path: &Path| path.canonicalize().ok();
        let secret = SECRET.iter().map(Path::new);
        Self {
            home: std::env::home_dir().and_then(|home| real(&home)),
            hidden: hidden
                .iter()
                .map(PathBuf::as_path)
                .chain(secret)
                .filter_map(real)
                .collect(),
            granted: Granted::default(),
        }
    }

    fn read(&mut self, path: &Path) {
        if let Ok(real) = path.canonicalize() {
            grant(
                &real,
                &self.hidden,
                &mut self.granted.read,
                &mut self.granted.list,
            );
        }
    }

    fn write(&mut self, path: &Path) {
        if let Ok(real) = path.canonicalize() {
            grant(
                &real,
                &self.hidden,
                &mut self.granted.write,
                &mut self.granted.list,
            );
        }
    }

    /// Whether a folder holds more than one program's files.
    fn broad(&self, folder: &Path) -> bool {
        BROAD.iter().any(|broad| folder == Path::new(broad))
            || self.home.as_deref().is_some_and(|home| home.starts_with(folder))
    }

    /// A folder, or nothing where it is too much.
    fn folder(&mut self, folder: Option<&Path>) {
        if let Some(folder) = folder
            && !self.broad(folder)
        {
            self.read(folder);
        }
    }

    /// A program with what stands beside it, and its interpreters.
    fn executable(&mut self, file: &Path, left: u32) {
        let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        for file in [file, &real] {
            self.read(file);
            let beside = file.parent();
            let named = |names: &[&str]| {
                let name = beside.and_then(Path::file_name).and_then(|name| name.to_str());
                name.is_some_and(|name| names.contains(&name))
            };
            let around = beside.and_then(Path::parent);
            // `prefix/bin/tool` has its libraries in `prefix/lib`; a version manager's `root/shims/tool` what it chooses from,
            // wherever that root is.
            if named(&["bin", ".bin", "sbin", "shims"]) && !around.is_none_or(|around| self.broad(around)) {
                self.folder(around);
            } else {
                self.folder(beside);
            }
            self.folder(modules(file).as_deref());
        }
        if left > 0
            && let Some(interpreter) = interpreter(&real)
        {
            self.executable(&interpreter, left - 1);
        }
    }

    /// A file that is named as an argument may be read; a script with its project.
    fn argument(&mut self, argument: &str, cwd: Option<&Path>) {
        let path = match cwd {
            Some(cwd) => cwd.join(argument),
            None => PathBuf::from(argument),
        };
        if !path.is_absolute() || !path.is_file() {
            return;
        }
        let Ok(real) = path.canonicalize() else { return };
        self.read(&real);
        let extension = real.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| SCRIPTS.contains(&extension)) {
            // A package that is installed uses those that are installed beside it.
            self.folder(modules(&real).as_deref());
            let project = project(&real).map(Path::to_owned);
            match project.filter(|project| !self.broad(project)) {
                Some(project) => self.read(&project),
                None => self.folder(real.parent()),
            }
        }
    }
}

/// Allows `path` without what is hidden in it. Links in a folder that is taken apart are left out: what they point at
/// has a place of its own.
fn grant(path: &Path, hidden: &[PathBuf], into: &mut Vec<PathBuf>, list: &mut Vec<PathBuf>) {
    if hidden.iter().any(|hidden| path.starts_with(hidden)) {
        return;
    }
    if !hidden.iter().any(|hidden| hidden.starts_with(path)) {
        if !into.iter().any(|known| path.starts_with(known)) {
            into.push(path.to_owned());
        }
        return;
    }
    list.push(path.to_owned());
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            grant(&entry.path(), hidden, into, list);
        }
    }
}

/// The outermost `node_modules` around a file.
fn modules(file: &Path) -> Option<PathBuf> {
    let folders: Vec<&Path> = file.ancestors().collect();
    let found = folders
        .into_iter()
        .rev()
        .find(|folder| folder.file_name().is_some_and(|name| name == "node_modules"));
    found.map(Path::to_owned)
}

/// The nearest folder around a script that looks like a project.
fn project(script: &Path) -> Option<&Path> {
    const MARKS: [&str; 5] = [
        "package.json",
        "node_modules",
        "pyproject.toml",
        ".venv",
        "requirements.txt",
    ];
    script
        .ancestors()
        .skip(1)
        .take(4)
        .find(|folder| MARKS.iter().any(|mark| folder.join(mark).exists()))
}

/// What `#!` names, looked up as `env` does.
fn interpreter(file: &Path) -> Option<PathBuf> {
    use std::io::Read as _;
    let mut start = Vec::with_capacity(256);
    std::fs::File::open(file)
        .ok()?
        .take(256)
        .read_to_end(&mut start)
        .ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let first = PathBuf::from(words.next()?);
    if first.file_name().is_some_and(|name| name == "env") {
        let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        return crate::find::find(name, None).ok();
    }
    first.is_absolute().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_left_out_of_what_is_around_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("real");
        for name in ["a/config.yaml", "a/other", "b/x"] {
            let file = root.join(name);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("made");
            std::fs::write(file, "").expect("written");
        }
        std::os::unix::fs::symlink(root.join("a/config.yaml"), root.join("a/link")).expect("linked");
        let (mut read, mut list) = (Vec::new(), Vec::new());
        grant(&root, &[root.join("a/config.yaml")], &mut read, &mut list);
        read.sort();
        assert_eq!(read, [root.join("a/other"), root.join("b")]);
        assert_eq!(list, [root.clone(), root.join("a")]);
    }

    #[test]
    fn interpreters_and_modules_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/usr/bin/env -S sh\n").expect("written");
        assert_eq!(
            interpreter(&script).and_then(|file| file.file_name().map(ToOwned::to_owned)),
            Some("sh".into())
        );
        assert_eq!(
            modules(Path::new("/a/node_modules/b/node_modules/c/x.js")),
            Some("/a/node_modules".into())
        );
    }
}
