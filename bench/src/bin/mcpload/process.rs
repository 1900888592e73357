//! CPU time and memory of processes, from `/proc`.

use std::collections::BTreeMap;
use std::time::Duration;

/// `/proc` counts CPU time in hundredths of a second on every Linux (`USER_HZ`), whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

/// What some processes and their descendants use together.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time since they started.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// Nothing for no processes, and for those that are gone.
    pub(crate) fn of(roots: &[u32]) -> Self {
        if roots.is_empty() {
            return Self::default();
        }
        let all: BTreeMap<u32, Stat> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, Stat::of(pid)?)))
            .collect();
        let mut counted = roots.to_vec();
        // Grows while it is walked: children, then theirs.
        let mut next = 0;
        while let Some(&parent) = counted.get(next) {
            let children = all
                .iter()
                .filter(|(pid, stat)| stat.parent == parent && !counted.contains(pid));
            let children: Vec<u32> = children.map(|(&pid, _)| pid).collect();
            counted.extend(children);
            next += 1;
        }
        let used = counted.iter().filter_map(|pid| Some((pid, all.get(pid)?)));
        used.fold(Self::default(), |sum, (&pid, stat)| Self {
            cpu: sum.cpu + stat.cpu,
            rss: sum.rss + rss(pid),
        })
    }
}

struct Stat {
    parent: u32,
    cpu: Duration,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the rest is separated by spaces, the state first.
        let fields: Vec<&str> = line.get(line.rfind(')')? + 2..)?.split(' ').collect();
        let ticks = |field: usize| fields.get(field)?.parse::<u32>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            cpu: TICK * ticks(11)? + TICK * ticks(12)?,
        })
    }
}

fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let mut busy = 0_u64;
        while Usage::of(&[std::process::id()]).cpu < TICK * 3 {
            busy = (0..100_000).fold(busy, u64::wrapping_add);
        }
        assert!(busy > 0);
        assert!(Usage::of(&[std::process::id()]).rss > 100_000);
        assert_eq!(Usage::of(&[]).rss, 0);
    }
}
