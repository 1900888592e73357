//! What is started for a server, and in which environment.
//!
//! `${NAME}` in a value of `env` is a global variable of the server's `env_vars`; `${X-NAME}` is the header of that name of the
//! client's request, as LiteLLM has it. A header that is not there is said so, and nothing is started: a program with an empty
//! key would fail in its own way, or use somebody else's.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_auth::Vault;
use trunkline_launch::Program;
use trunkline_model::{EnvVarScope, OutcomeStatus, Secret, Server, Step};

use crate::credential::{ClientHeaders, Outgoing, Variables, resolve};
use crate::fault::Fault;

/// A program with its environment.
pub struct Recipe {
    pub(crate) program: Program,
    /// Names command, arguments, folder and environment: equal ones share a child.
    pub(crate) fingerprint: [u8; 16],
    /// The secret values of the environment, to take them out of what the program says.
    pub(crate) secrets: Vec<Secret>,
}

impl Recipe {
    /// What is started, for people: names only of what may be secret.
    pub(crate) fn describe(&self) -> String {
        let count = self.program.args.len();
        let noun = if count == 1 { "argument" } else { "arguments" };
        let mut text = format!(
            "{} with {count} {noun}",
            crate::fault::printable(&self.program.command)
        );
        if !self.program.env.is_empty() {
            let names: Vec<&str> = self.program.env.keys().map(String::as_str).collect();
            text.push_str(", environment ");
            text.push_str(&names.join(", "));
        }
        text
    }

    /// What is sent to it: nothing but messages.
    pub(crate) fn outgoing(self: &Arc<Self>) -> Outgoing {
        Outgoing::to_program(self.clone())
    }
}

/// Whether a client's headers change what is started for a server.
pub(crate) fn concerns(server: &Server) -> bool {
    server
        .definition
        .env
        .values()
        .any(|value| names(value.expose()).any(is_header))
}

/// What to start for a client with these headers.
pub(crate) fn recipe(
    server: &Server,
    client: &ClientHeaders<'_>,
    vault: &Vault,
    variables: &Variables,
) -> Result<Recipe, Fault> {
    let definition = &server.definition;
    let Some(command) = definition
        .command
        .as_deref()
        .filter(|command| !command.trim().is_empty())
    else {
        return Err(
            Fault::misconfigured("no command is set").hint("set command to the program that is the server")
        );
    };
    let mut env = BTreeMap::new();
    let mut secrets: Vec<Secret> = Vec::new();
    for (name, value) in &definition.env {
        let value = resolve(value, &format!("env.{name}"), variables)?;
        let value = filled(server, client, (name.as_str(), value.expose()), variables)?;
        secrets.push(value.clone());
        env.insert(name.clone(), value);
    }
    let program = Program {
        command: command.to_owned(),
        args: definition.args.clone(),
        env,
        cwd: definition.cwd.clone().map(Into::into),
        sandbox: definition.sandbox.clone(),
        name: server.id.as_str().to_owned(),
    };
    let fingerprint = fingerprint(&program, vault);
    Ok(Recipe {
        program,
        fingerprint,
        secrets,
    })
}

fn fingerprint(program: &Program, vault: &Vault) -> [u8; 16] {
    let cwd = program
        .cwd
        .as_ref()
        .map(|cwd| cwd.to_string_lossy().into_owned())
        .unwrap_or_default();
    let counts = format!(
        "{} {} {}",
        program.args.len(),
        program.env.len(),
        program.sandbox.to_json()
    );
    let mut parts: Vec<&[u8]> = vec![
        b"program",
        program.command.as_bytes(),
        cwd.as_bytes(),
        counts.as_bytes(),
    ];
    parts.extend(program.args.iter().map(String::as_bytes));
    for (name, value) in &program.env {
        parts.push(name.as_bytes());
        parts.push(value.expose().as_bytes());
    }
    vault.fingerprint(&parts)
}

/// The names in `${…}`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('}')?.0))
}

fn is_header(name: &str) -> bool {
    name.get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("x-"))
}

/// A value with everything filled in.
fn filled(
    server: &Server,
    client: &ClientHeaders<'_>,
    (field, text): (&str, &str),
    variables: &Variables,
) -> Result<Secret, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        let variable = server
            .definition
            .env_vars
            .iter()
            .find(|variable| variable.name == name && variable.scope == EnvVarScope::Global);
        if let Some(variable) = variable {
            out.push_str(resolve(&variable.value, &format!("env_vars.{name}"), variables)?.expose());
        } else if is_header(name) {
            out.push_str(from_client(client, field, name)?.expose());
        } else {
            return Err(Fault::misconfigured(format!("env.{field} uses ${{{name}}}, which is not set")).hint(
                "add it to the server's env_vars with scope global, or name a header of the client's request: ${X-NAME}",
            ));
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(Secret::new(out))
}

fn from_client(client: &ClientHeaders<'_>, field: &str, name: &str) -> Result<Secret, Fault> {
    let missing = || {
        Fault::new(
            OutcomeStatus::AuthRequired,
            Step::Configuration,
            format!("env.{field} is filled from the header {name} of the client's request, which has none"),
        )
        .hint(format!("let the client send {name}"))
    };
    let value = client.header(name).ok_or_else(missing)?;
    if value.is_empty() {
        return Err(missing());
    }
    if value.expose().contains('\0') {
        return Err(Fault::misconfigured(format!(
            "the header {name} cannot stand in an environment"
        )));
    }
    Ok(value)
}
