//! What to know about the program of a stdio server before it is started. The configuration check and the management API
//! ask here.

use std::path::Path;

use crate::notice::{Notice, Severity};
use crate::{Sandbox, ServerDefinition, Transport};

/// Variables by which whoever sets them runs code of theirs in a program of somebody else's choice: loaders, start-up
/// files, and options of interpreters. Names, or beginnings of names where a `*` stands.
const INJECTING: [&str; 50] = [
    "LD_*",
    "DYLD_*",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "BASH_ENV",
    "BASH_FUNC_*",
    "ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "ZDOTDIR",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "NPM_CONFIG_NODE_OPTIONS",
    "NPM_CONFIG_SCRIPT_SHELL",
    "NPM_CONFIG_SHELL",
    "ELECTRON_RUN_AS_NODE",
    "BUN_OPTIONS",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONBREAKPOINT",
    "PYTHONUSERBASE",
    "PYTHONWARNINGS",
    "PYTHONPLATLIBDIR",
    "PERL5OPT",
    "PERL5LIB",
    "PERL5DB",
    "RUBYOPT",
    "RUBYLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "LUA_INIT*",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "DOTNET_STARTUP_HOOKS",
    "CORECLR_*",
    "COR_*",
    "ERL_FLAGS",
    "ERL_AFLAGS",
    "OPENSSL_CONF",
    "GIT_CONFIG*",
    "GIT_EXEC_PATH",
    "GIT_SSH*",
    "R_PROFILE*",
];

/// Whether setting the variable `name` can run code of whoever sets it. Names ignore case: some programs do.
pub fn injects_code(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    INJECTING.iter().any(|known| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *known,
    })
}

impl ServerDefinition {
    /// Variables in `env` that [`injects_code`]: a warning each. The API refuses them.
    pub fn injecting_variables(&self) -> impl Iterator<Item = Notice> {
        let names = self.env.keys().filter(|name| injects_code(name));
        names.map(|name| Notice {
            field: "env".to_owned(),
            message: format!(
                "sets {name}, by which other code than the program's own can be loaded into it; make sure that you mean it."
            ),
            severity: Severity::Warning,
        })
    }

    /// What is wrong with how a program is written down, or worth knowing.
    pub fn program_notices(&self) -> Vec<Notice> {
        if self.transport != Transport::Stdio {
            return self.idle_settings();
        }
        let notice = |field: &str, message: String, severity: Severity| Notice {
            field: field.to_owned(),
            message,
            severity,
        };
        let mut notices: Vec<Notice> = self.injecting_variables().collect();
        let command = self.command.as_deref().unwrap_or_default();
        if let Some((first, _)) = command.trim().split_once(char::is_whitespace)
            && !first.contains('/')
        {
            notices.push(notice(
                "command",
                "holds arguments, and there is no shell that would take them apart: put them into `args`, one each."
                    .to_owned(),
                Severity::Refused,
            ));
        }
        if self
            .cwd
            .as_deref()
            .is_some_and(|cwd| !Path::new(cwd).is_absolute())
        {
            let message = "must be an absolute path.".to_owned();
            notices.push(notice("cwd", message, Severity::Refused));
        }
        if self.sandbox == Sandbox::Off {
            let message = "is off: the program may do all that the gateway's user may, such as read its keys and its database.";
            notices.push(notice("sandbox", message.to_owned(), Severity::Warning));
        }
        notices
    }

    /// Settings of programs on a server that is none.
    fn idle_settings(&self) -> Vec<Notice> {
        let set = [
            ("cwd", self.cwd.is_some()),
            ("sandbox", self.sandbox != Sandbox::default()),
        ];
        let idle = set.into_iter().filter(|(_, set)| *set);
        idle.map(|(field, _)| Notice {
            field: field.to_owned(),
            message: "has an effect with `transport: stdio` alone.".to_owned(),
            severity: Severity::Warning,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s04_variables_that_inject_code_are_known() {
        for name in [
            "LD_PRELOAD",
            "ld_preload",
            "LD_LIBRARY_PATH",
            "NODE_OPTIONS",
            "PYTHONSTARTUP",
            "BASH_ENV",
        ] {
            assert!(injects_code(name), "{name}");
        }
        for name in ["API_KEY", "PATH", "NODE_ENV", "ENVIRONMENT", "OLD_TOKEN"] {
            assert!(!injects_code(name), "{name}");
        }
    }

    #[test]
    fn a_command_with_arguments_in_it_is_a_mistake() {
        let mut definition = ServerDefinition {
            transport: Transport::Stdio,
            command: Some("npx -y server".into()),
            sandbox: Sandbox::Off,
            ..ServerDefinition::default()
        };
        let found = definition.program_notices();
        assert_eq!(found[0].field, "command");
        assert_eq!(found[0].severity, Severity::Refused);
        assert_eq!(found[1].field, "sandbox");
        definition.command = Some("/opt/My Program/bin/server".into());
        assert_eq!(definition.program_notices().len(), 1);
    }
}
