//! The private folders of a program: a home for its caches (`npx` and `uvx` install there) and a place for temporary
//! files. They are below the gateway's data, which no program may read otherwise.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The folders of one server's programs.
#[derive(Debug)]
pub(crate) struct Folders {
    pub(crate) home: PathBuf,
    pub(crate) tmp: PathBuf,
}

impl Folders {
    /// Where they are, or will be.
    pub(crate) fn of(state: &Path, name: &str) -> Self {
        let own = state.join("programs").join(folder_name(name));
        Self {
            home: own.join("home"),
            tmp: own.join("tmp"),
        }
    }

    /// Makes them if they are not there.
    pub(crate) fn make(state: &Path, name: &str) -> io::Result<Self> {
        let folders = Self::of(state, name);
        for folder in [&folders.home, &folders.tmp] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        Ok(Self {
            home: folders.home.canonicalize()?,
            tmp: folders.tmp.canonicalize()?,
        })
    }
}

/// One folder for one name: what cannot stand in a folder's name is replaced, and a sum of the whole name follows.
fn folder_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .take(48)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if plain == name {
        return plain;
    }
    // FNV-1a: the same in every version, which the standard library does not promise of its own.
    let sum = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{plain}.{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_apart_and_inside() {
        assert_eq!(folder_name("files"), "files");
        let odd = folder_name("../../etc");
        assert!(!odd.contains('/') && !odd.starts_with(".."), "{odd}");
        assert_ne!(folder_name("a/b"), folder_name("a b"));
        assert_ne!(folder_name("a/b"), folder_name("a_b"));
    }
}
