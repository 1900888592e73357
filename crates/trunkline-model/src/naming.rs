//! Rules for the names of servers.

/// Why a server name or alias is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing in it.
    Empty,
    /// More than 128 characters.
    TooLong,
    /// A character that cannot stand in a URL path segment or a header: the first one found.
    Character(char),
    /// A name that routes of the gateway own (`mcp`, `health`, `v1`, …).
    Reserved,
}

/// First path segments that belong to the gateway: a server of that name could never be reached at `/{name}/mcp`.
pub const RESERVED: [&str; 10] = [
    "mcp",
    "mcp-rest",
    "v1",
    "health",
    "metrics",
    "toolset",
    "sse",
    ".well-known",
    "all-team-mcpservers",
    "all-proxy-mcpservers",
];

/// Checks a server name or alias. Letters, digits, `_`, `-`, `.` and blanks (which become `_` in prefixes) are allowed:
/// routing is a map lookup, so LiteLLM's ban on its separator is not needed.
pub fn check_server_name(name: &str) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Empty);
    }
    if name.chars().count() > 128 {
        return Err(NameError::TooLong);
    }
    if let Some(bad) = name
        .chars()
        .find(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ')))
    {
        return Err(NameError::Character(bad));
    }
    if RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
    {
        return Err(NameError::Reserved);
    }
    Ok(())
}

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("a server name must not be empty"),
            Self::TooLong => f.write_str("a server name has at most 128 characters"),
            Self::Character(c) => {
                write!(
                    f,
                    "a server name may hold letters, digits, '_', '-', '.' and blanks, not {c:?}"
                )
            }
            Self::Reserved => write!(
                f,
                "this name belongs to the gateway's own routes ({})",
                RESERVED.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(check_server_name("github"), Ok(()));
        assert_eq!(check_server_name("my-server 2.0"), Ok(()));
        assert_eq!(check_server_name("a/b"), Err(NameError::Character('/')));
        assert_eq!(check_server_name("a\r\nb"), Err(NameError::Character('\r')));
        assert_eq!(check_server_name("  "), Err(NameError::Empty));
        assert_eq!(check_server_name("MCP"), Err(NameError::Reserved));
    }
}
