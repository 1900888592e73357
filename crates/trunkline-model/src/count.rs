//! How many of a thing, as people say it.

use std::fmt;

/// `1 tool`, `2 tools`: for things whose plural has an s more.
pub fn count<N: Copy + PartialEq + From<u8> + fmt::Display>(number: N, thing: &str) -> String {
    let s = if number == N::from(1) { "" } else { "s" };
    format!("{number} {thing}{s}")
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(count(0_usize, "tool"), "0 tools");
        assert_eq!(count(1_u64, "tool"), "1 tool");
        assert_eq!(count(21_u32, "MCP server"), "21 MCP servers");
    }
}
