//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::add::AddArguments;
use crate::call::CallArguments;
use crate::connect::ConnectArguments;
use crate::explain::ExplainArguments;
use crate::failure::Failure;
use crate::import::ImportCommand;
use crate::stdio::StdioArguments;
use crate::tools::ToolsArguments;
use crate::{
    add, call, config_check, connect, contracts, db, doctor, explain, import, output, serve, stdio, tools,
};

/// The MCP gateway: one URL for all your MCP servers.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve MCP clients.
    Serve(ServeArguments),
    /// Look at a configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Walk the handshake with MCP servers step by step, and say what is broken and what to change.
    ///
    /// Exit code: 0 all usable, 1 some not, 2 the question could not be asked.
    Doctor(DoctorArguments),
    /// Register a server at the running gateway, and see whether it works.
    ///
    /// Exit codes of this and the following commands: docs/cli.md.
    Add(AddArguments),
    /// List the tools of the running gateway, and the servers that have none to show.
    Tools(ToolsArguments),
    /// Call a tool.
    Call(CallArguments),
    /// Say why a key may use a server or a tool, or may not, and what would have to change.
    Explain(ExplainArguments),
    /// Write the gateway into the configuration of an MCP client, or take it out.
    Connect(ConnectArguments),
    /// Register what other programs know.
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// Be the gateway for a client that only speaks stdio.
    Stdio(StdioArguments),
    /// Look after the database.
    Db {
        #[command(subcommand)]
        command: DbCommand,
    },
    /// Print the OpenAPI document of the HTTP API.
    #[command(hide = true)]
    PrintOpenapi,
    /// Print the JSON schema of the configuration file.
    #[command(hide = true)]
    PrintConfigSchema,
}

/// Where the configuration and the data are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sources {
    /// LiteLLM's config.yaml. Without it: the environment and the database.
    #[arg(long, short, value_name = "FILE", env = "CONFIG_FILE_PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Where the embedded database and a generated master key are kept.
    #[arg(long, value_name = "DIR", env = "TRUNKLINE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// `trunkline serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Address to listen on. Other than loopback needs a strong master key.
    #[arg(long, default_value = "127.0.0.1", env = "TRUNKLINE_HOST")]
    pub(crate) host: String,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 4000, env = "TRUNKLINE_PORT")]
    pub(crate) port: u16,
    /// Write the port to this file when listening.
    #[arg(long, value_name = "FILE")]
    pub(crate) port_file: Option<PathBuf>,
    /// Serve /metrics without a key on a listener of its own, for example 127.0.0.1:9090.
    #[arg(long, value_name = "ADDRESS", env = "TRUNKLINE_METRICS_ADDR")]
    pub(crate) metrics_addr: Option<std::net::SocketAddr>,
    /// Where the other replicas on the same PostgreSQL database reach this one, for example `http://10.0.0.5:4000`. Without
    /// it: the address that is listened on or, where that is any, the one towards the database.
    #[arg(long, value_name = "URL", env = "TRUNKLINE_ADVERTISE_URL", value_parser = crate::serve::place::advertised)]
    pub(crate) advertise_url: Option<String>,
    /// Seconds that requests under way get at shutdown.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) drain_timeout: u64,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "TRUNKLINE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what is wrong with a file, what is not served, and what it declares, without starting.
    ///
    /// Exit code: 0 it can be served, 1 it cannot.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// `trunkline doctor`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArguments {
    /// Name, alias or id of one server; all without it.
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Show the database, its migrations, and how it differs from what this version needs.
    ///
    /// Exit code: 0 as needed, 1 migrations or repairs are due, 2 it cannot be read.
    Status(Sources),
    /// Apply the migrations that are missing.
    Migrate(Sources),
    /// Add tables, columns and indexes that are missing. Drops nothing.
    Repair(Sources),
}

/// Runs a command; the exit code is its answer.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Serve(arguments) => Box::pin(serve::run(arguments)).await.map(|()| ExitCode::SUCCESS),
        Command::Config {
            command: ConfigCommand::Check { file },
        } => Ok(config_check::run(&file)),
        Command::Doctor(arguments) => doctor::run(&arguments).await,
        Command::Add(arguments) => of(Box::pin(add::run(&arguments)).await),
        Command::Tools(arguments) => of(Box::pin(tools::run(&arguments)).await),
        Command::Call(arguments) => of(Box::pin(call::run(&arguments)).await),
        Command::Explain(arguments) => of(Box::pin(explain::run(&arguments)).await),
        Command::Connect(arguments) => of(connect::run(&arguments)),
        Command::Import { command } => of(Box::pin(import::run(&command)).await),
        Command::Stdio(arguments) => Box::pin(stdio::run(&arguments)).await,
        Command::Db {
            command: DbCommand::Status(sources),
        } => db::status(&sources).await,
        Command::Db {
            command: DbCommand::Migrate(sources),
        } => db::migrate(&sources).await,
        Command::Db {
            command: DbCommand::Repair(sources),
        } => db::repair(&sources).await,
        Command::PrintOpenapi => contracts::openapi(),
        Command::PrintConfigSchema => contracts::config_schema(),
    };
    done.unwrap_or_else(|error| {
        output::error(&format!("{error:#}"));
        match error.downcast_ref::<Failure>() {
            Some(failure) => failure.code.into(),
            None => ExitCode::from(2),
        }
    })
}

fn of(done: Result<ExitCode, Failure>) -> anyhow::Result<ExitCode> {
    Ok(done?)
}
