//! What the gateway holds, from outside: memory, descriptors, processes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use trunkline_testkit::TestGateway;

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) rss: u64,
    pub(crate) descriptors: usize,
    pub(crate) processes: usize,
}

impl Usage {
    pub(crate) fn of(gateway: &TestGateway) -> Self {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("/proc");
        Self {
            rss: gateway.rss_bytes(),
            descriptors: descriptors.count(),
            processes: descendants(gateway.pid()).len(),
        }
    }
}

/// Every process below this one, also those that nobody has waited for yet.
pub(crate) fn descendants(of: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in brackets may have anything in it; what follows its end is the state and the parent.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split(' ').nth(2)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(next) = open.pop() {
        let below = children.remove(&next).unwrap_or_default();
        found.extend_from_slice(&below);
        open.extend(below);
    }
    found
}

/// How many Python programs have this among their arguments; those that have ended and are not waited for count too.
pub(crate) fn with_argument(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter(|entry| {
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut arguments = arguments.split(|byte| *byte == 0);
            let is_python = arguments.next().unwrap_or_default().ends_with(b"python3");
            is_python && arguments.any(|own| own == mark.as_bytes())
        })
        .count()
}

/// What it is, how much of it there is, and how much more there may be without being growth.
type Kind = (&'static str, fn(&Usage) -> u64, u64);

/// Looks at regular times.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Instant,
    seen: Vec<(Duration, Usage)>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            seen: Vec::new(),
        }
    }

    pub(crate) fn look(&mut self, gateway: &TestGateway) {
        self.seen.push((self.began.elapsed(), Usage::of(gateway)));
    }

    /// The most of something in each half of the time.
    fn halves(&self, of: impl Fn(&Usage) -> u64) -> (u64, u64) {
        let middle = self.seen.last().map_or(Duration::ZERO, |(at, _)| *at / 2);
        let most = |second: bool| {
            let half = self.seen.iter().filter(|(at, _)| (*at > middle) == second);
            half.map(|(_, usage)| of(usage)).max().unwrap_or_default()
        };
        (most(false), most(true))
    }

    /// Nothing grows: the most of the second half is not much more than that of the first.
    ///
    /// # Panics
    /// When it is.
    pub(crate) fn assert_level(&self) {
        const MIB: u64 = 1 << 20;
        let kinds: [Kind; 3] = [
            ("bytes of memory", |usage| usage.rss, 32 * MIB),
            ("descriptors", |usage| usage.descriptors as u64, 64),
            ("processes", |usage| usage.processes as u64, 6),
        ];
        for (what, of, slack) in kinds {
            let (first, second) = self.halves(of);
            println!("{what}: at most {first} in the first half, {second} in the second");
            assert!(
                second <= first + first / 4 + slack,
                "{what} grow: at most {first} in the first half, {second} in the second"
            );
        }
    }
}
