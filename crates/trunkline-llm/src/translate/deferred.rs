//! Tools of which a model is told when it has found them: Anthropic's `defer_loading`, and the `tool_reference` by which a search says what
//! it found. Claude Code keeps the tools of MCP servers like that.
//!
//! Providers of other dialects know neither, and are told what the model would know by then: of the tools that were found, and not of the
//! others.

use std::collections::HashSet;

use trunkline_mcp::edit::RawObject;

use super::conversation::{Block, Conversation, Kind, Tool, ToolChoice};
use super::losses::Losses;

/// The type of a block that names a tool.
const REFERENCE: &str = "tool_reference";

/// Anthropic's own searches. Where one is left out, nothing can be found, and the model is told of all.
const SEARCH: &str = "tool_search_tool";

/// Says it for a provider that does not know it.
pub(super) fn tell(conversation: &mut Conversation, losses: &mut Losses) {
    let mut found = HashSet::new();
    for turn in &mut conversation.turns {
        for block in &mut turn.blocks {
            if let Kind::ToolResult { blocks, .. } = &mut block.kind {
                found.extend(blocks.iter_mut().filter_map(name));
            }
        }
    }
    if let Some(ToolChoice::Tool(name)) = &conversation.tool_choice {
        found.insert(name.clone());
    }
    let is_search = |tool: &Tool| matches!(tool, Tool::Other { kind, .. } if kind.starts_with(SEARCH));
    let tells_all = conversation.tools.iter().any(is_search);
    conversation.tools.retain(|tool| match tool {
        Tool::Function {
            name, deferred: true, ..
        } => {
            losses.hint("tools.defer_loading");
            tells_all || found.contains(name)
        }
        _ => true,
    });
}

/// The tool that a block names. The block becomes a text, so that the search has a result.
fn name(block: &mut Block) -> Option<String> {
    let Kind::Other { kind, json } = &block.kind else {
        return None;
    };
    if kind != REFERENCE {
        return None;
    }
    let name = RawObject::parse(json).ok()?.get_string("tool_name")?;
    block.kind = Kind::Text(format!("The tool {name} can be called now."));
    Some(name)
}
