//! The MCP clients that people have: where each keeps its servers, and how it writes them. `connect` writes there, `import`
//! reads there. To know one more: a variant of [`Client`], and the compiler names the places.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code.
    ClaudeCode,
    /// Claude Desktop; speaks stdio only.
    ClaudeDesktop,
    /// Cursor.
    Cursor,
    /// VS Code.
    #[value(name = "vscode")]
    VsCode,
    /// Codex.
    Codex,
    /// Windsurf.
    Windsurf,
}

/// Whose file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The user's own.
    User,
    /// In a folder that is shared, by git mostly.
    Project,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON, with comments where the client takes them; servers are in this member.
    Json(&'static str),
    /// TOML; servers are tables in this one.
    Toml(&'static str),
}

/// Systems differ in where programs keep their settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Linux,
    MacOs,
    Windows,
}

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) system: System,
    pub(crate) home: PathBuf,
    /// The folder of a project.
    pub(crate) project: PathBuf,
    /// `XDG_CONFIG_HOME`, `APPDATA`, `CODEX_HOME`, `CLAUDE_CONFIG_DIR`, where they are set.
    pub(crate) env: fn(&str) -> Option<PathBuf>,
}

impl Client {
    pub(crate) const ALL: [Self; 6] = [
        Self::ClaudeCode,
        Self::ClaudeDesktop,
        Self::Cursor,
        Self::VsCode,
        Self::Codex,
        Self::Windsurf,
    ];

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::Codex => "Codex",
            Self::Windsurf => "Windsurf",
        }
    }

    /// The word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Codex => "codex",
            Self::Windsurf => "windsurf",
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            Self::VsCode => Format::Json("servers"),
            Self::Codex => Format::Toml("mcp_servers"),
            _ => Format::Json("mcpServers"),
        }
    }

    /// Its file; `None` where it has none of this scope.
    pub(crate) fn file(self, scope: Scope, places: &Places) -> Option<PathBuf> {
        let home = |rest: &str| places.home.join(rest);
        let project = |rest: &str| places.project.join(rest);
        Some(match (self, scope) {
            (Self::ClaudeCode, Scope::User) => (places.env)("CLAUDE_CONFIG_DIR")
                .unwrap_or_else(|| places.home.clone())
                .join(".claude.json"),
            (Self::ClaudeCode, Scope::Project) => project(".mcp.json"),
            (Self::ClaudeDesktop, Scope::User) => places.settings().join("Claude/claude_desktop_config.json"),
            (Self::Cursor, Scope::User) => home(".cursor/mcp.json"),
            (Self::Cursor, Scope::Project) => project(".cursor/mcp.json"),
            (Self::VsCode, Scope::User) => places.settings().join("Code/User/mcp.json"),
            (Self::VsCode, Scope::Project) => project(".vscode/mcp.json"),
            (Self::Codex, Scope::User) => (places.env)("CODEX_HOME")
                .unwrap_or_else(|| home(".codex"))
                .join("config.toml"),
            (Self::Windsurf, Scope::User) => home(".codeium/windsurf/mcp_config.json"),
            (Self::ClaudeDesktop | Self::Codex | Self::Windsurf, Scope::Project) => return None,
        })
    }

    /// What people do for it to be read.
    pub(crate) fn reads_it(self) -> &'static str {
        match self {
            Self::ClaudeCode | Self::Codex => "new sessions read it",
            Self::ClaudeDesktop => "quit and start Claude Desktop, which reads it then",
            Self::Cursor | Self::Windsurf => {
                "it is read after a restart, or a refresh of its list of servers"
            }
            Self::VsCode => "VS Code reads it at once, and asks for the key when the server starts",
        }
    }
}

impl Places {
    /// Of this process. `None` without a home.
    pub(crate) fn here() -> Option<Self> {
        let env = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let system = if cfg!(windows) {
            System::Windows
        } else if cfg!(target_os = "macos") {
            System::MacOs
        } else {
            System::Linux
        };
        Some(Self {
            system,
            home: env("HOME").or_else(|| env("USERPROFILE"))?,
            project: std::env::current_dir().ok()?,
            env,
        })
    }

    /// Where programs with windows keep their settings.
    fn settings(&self) -> PathBuf {
        match self.system {
            System::Linux => (self.env)("XDG_CONFIG_HOME").unwrap_or_else(|| self.home.join(".config")),
            System::MacOs => self.home.join("Library/Application Support"),
            System::Windows => (self.env)("APPDATA").unwrap_or_else(|| self.home.join("AppData/Roaming")),
        }
    }

    /// A path as people write it: `~/…`.
    pub(crate) fn short(&self, path: &Path) -> String {
        if let Ok(rest) = path.strip_prefix(&self.project) {
            return rest.display().to_string();
        }
        match path.strip_prefix(&self.home) {
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_each_system_has_them() {
        let places = |system| Places {
            system,
            home: "/home/u".into(),
            project: "/p".into(),
            env: |_| None,
        };
        let file = |client: Client, system, scope| {
            let file = client.file(scope, &places(system))?;
            Some(file.to_str()?.to_owned())
        };
        for (client, system, path) in [
            (Client::ClaudeCode, System::Linux, "/home/u/.claude.json"),
            (
                Client::ClaudeDesktop,
                System::Linux,
                "/home/u/.config/Claude/claude_desktop_config.json",
            ),
            (
                Client::ClaudeDesktop,
                System::MacOs,
                "/home/u/Library/Application Support/Claude/claude_desktop_config.json",
            ),
            (
                Client::ClaudeDesktop,
                System::Windows,
                "/home/u/AppData/Roaming/Claude/claude_desktop_config.json",
            ),
            (
                Client::VsCode,
                System::Linux,
                "/home/u/.config/Code/User/mcp.json",
            ),
            (
                Client::VsCode,
                System::MacOs,
                "/home/u/Library/Application Support/Code/User/mcp.json",
            ),
            (Client::Codex, System::Windows, "/home/u/.codex/config.toml"),
            (
                Client::Windsurf,
                System::MacOs,
                "/home/u/.codeium/windsurf/mcp_config.json",
            ),
        ] {
            assert_eq!(file(client, system, Scope::User).as_deref(), Some(path));
        }
        assert_eq!(
            file(Client::VsCode, System::Linux, Scope::Project).as_deref(),
            Some("/p/.vscode/mcp.json")
        );
        assert_eq!(file(Client::Codex, System::Linux, Scope::Project), None);
    }
}
