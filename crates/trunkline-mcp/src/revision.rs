//! Protocol revisions. One more revision: one variant, its text in [`Revision::as_str`], its place in [`Revision::ALL`].

/// A revision of the Model Context Protocol that the gateway speaks with clients and upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// First public revision (HTTP+SSE).
    V2024_11_05,
    /// Streamable HTTP, batches.
    V2025_03_26,
    /// No batches, `MCP-Protocol-Version` header.
    V2025_06_18,
    /// The last with a handshake.
    V2025_11_25,
    /// The first without: every request stands for itself.
    V2026_07_28,
}

/// The two kinds of revisions, between which messages are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Era {
    /// With a hand-shake, sessions and requests of servers: 2025-11-25 and earlier.
    #[default]
    Legacy,
    /// Stateless, with metadata in every request: 2026-07-28 and later.
    Modern,
}

impl Revision {
    /// Those with a hand-shake, oldest first.
    pub const ALL: [Self; 4] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
    ];

    /// The newest that is offered.
    pub const LATEST: Self = Self::V2025_11_25;

    /// What a request without the header means after `initialize` (2025-06-18, "Protocol Version Header").
    pub const WITHOUT_HEADER: Self = Self::V2025_03_26;

    /// The date that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Which kind it is.
    pub fn era(self) -> Era {
        if self == Self::V2026_07_28 {
            Era::Modern
        } else {
            Era::Legacy
        }
    }

    /// The inverse of [`Revision::as_str`] for those with a hand-shake.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// The answer to a client's wish: the same where it is spoken, else the newest (never an error).
    pub fn negotiate(requested: &str) -> Self {
        Self::parse(requested).unwrap_or(Self::LATEST)
    }

    /// Position in [`Revision::ALL`], for sealed session ids.
    pub fn index(self) -> u8 {
        match self {
            Self::V2024_11_05 => 0,
            Self::V2025_03_26 => 1,
            Self::V2025_06_18 => 2,
            Self::V2025_11_25 => 3,
            Self::V2026_07_28 => 4,
        }
    }

    /// The inverse of [`Revision::index`].
    pub fn from_index(index: u8) -> Option<Self> {
        let all = Self::ALL.into_iter().chain([Self::V2026_07_28]);
        let mut all = all;
        all.find(|revision| revision.index() == index)
    }

    /// Whether a body may be a JSON-RPC batch.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation_never_fails() {
        assert_eq!(Revision::negotiate("2025-06-18"), Revision::V2025_06_18);
        assert_eq!(Revision::negotiate("2099-01-01"), Revision::LATEST);
        for revision in Revision::ALL {
            assert_eq!(Revision::from_index(revision.index()), Some(revision));
            assert_eq!(Revision::parse(revision.as_str()), Some(revision));
        }
    }
}
