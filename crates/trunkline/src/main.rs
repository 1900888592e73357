//! `trunkline`: the MCP gateway.
//!
//! Three layers: [`cli`] (arguments), [`settings`] (what they, the file and the environment resolve to), and one file a
//! command. [`serve`] is the composition root, the only place that knows all crates.

// The future of a connection holds those of all ways to a server, one in the other.
#![recursion_limit = "256"]

mod add;
mod call;
mod cli;
mod clients;
mod config_check;
mod config_file;
mod connect;
mod contracts;
mod db;
mod doctor;
mod explain;
mod failure;
mod files;
mod import;
mod logging;
mod output;
mod probe;
mod programs;
mod reach;
mod serve;
mod settings;
mod stdio;
mod terminal;
mod tools;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: a watcher of a program has no use for a runtime.
    if let Some(code) = trunkline_launch::main_if_helper() {
        return code;
    }
    let arguments = cli::Arguments::parse();
    // The one TLS provider of the process; a second installation would be the error.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // What serves connections has threads of its own.
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("the runtime cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli::run(arguments));
    // Whatever is still blocked (a name resolution, say) must not hold the exit up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}
