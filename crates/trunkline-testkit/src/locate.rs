//! Where things of the repository are.

use std::path::{Path, PathBuf};

/// The folder with the workspace's Cargo.toml.
pub fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("this crate is two folders below the root")
        .to_owned()
}

/// The binary under test: `TRUNKLINE_BIN`; else what Cargo or nextest built for this test; else the one of the
/// profile that this test was built with.
///
/// # Panics
/// When there is none: says how to get it.
pub(crate) fn binary() -> PathBuf {
    let named = [
        "TRUNKLINE_BIN",
        "CARGO_BIN_EXE_trunkline",
        "NEXTEST_BIN_EXE_trunkline",
    ];
    if let Some(path) = named.iter().find_map(std::env::var_os) {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/TEST-HASH, or target/PROFILE/examples/…
    let beside = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("trunkline"));
    beside.into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no trunkline binary near {}: run `cargo build -p trunkline`, or set TRUNKLINE_BIN",
            test.display()
        )
    })
}
