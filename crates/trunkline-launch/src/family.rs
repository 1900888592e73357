//! A program and all that descends from it, as the kernel knows it.
//!
//! The list of a process's children is exact only while nothing happens, so nothing here is believed to be complete: the
//! walk is repeated until the watcher has no children any more, which is the one thing that the kernel says for sure.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) members: Vec<i32>,
    pub(crate) threads: usize,
}

/// More members than this are not listed in one walk: a walk must end.
const MAX_WALK: usize = 100_000;

impl Family {
    /// The descendants of this process, at most `most` of them: whoever wants to know whether there are too many need
    /// not wait for the last of a thousand.
    pub(crate) fn count(most: usize) -> Self {
        Self::walk(most, |_| {})
    }

    /// Sends a signal to everyone. The main group first: the kernel stops a group at once, also where it is forking. The
    /// others when they are found, so that they do not multiply while the rest is looked for.
    pub(crate) fn signal(group: Option<Pid>, signal: Signal) {
        // Whoever is gone meanwhile needs no signal.
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
        }
        Self::walk(MAX_WALK, |pid| {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, signal);
            }
        });
    }

    fn walk(most: usize, mut each: impl FnMut(i32)) -> Self {
        let mut family = Self::default();
        let mut seen = BTreeSet::new();
        let own = getpid().as_raw_nonzero().get();
        let mut parents = vec![own];
        while let Some(parent) = parents.pop() {
            for thread in entries(&format!("/proc/{parent}/task")) {
                family.threads += usize::from(parent != own);
                for child in children(parent, thread) {
                    if family.members.len() < most && seen.insert(child) {
                        family.members.push(child);
                        parents.push(child);
                    }
                }
            }
            if parent != own {
                each(parent);
            }
        }
        family
    }

    /// Memory that is theirs alone, MiB. Pages that are shared count once at most, so it errs to the program's favour.
    pub(crate) fn memory_mb(&self) -> u64 {
        let page = rustix::param::page_size() as u64;
        let pages: u64 = self.members.iter().filter_map(|pid| private_pages(*pid)).sum();
        pages.saturating_mul(page) >> 20
    }
}

/// All threads of this machine: one cheap number that says whether something multiplies.
pub(crate) fn machine_threads() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

fn entries(folder: &str) -> Vec<i32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Not every kernel is built to list the children of a thread. Taken for "none", that would be no limit and no end for whoever
/// leaves the main group.
static LISTS_CHILDREN: LazyLock<bool> = LazyLock::new(|| Path::new("/proc/thread-self/children").exists());

fn children(pid: i32, thread: i32) -> Vec<i32> {
    if !*LISTS_CHILDREN {
        // Looked for once a process, not once a thread.
        return if thread == pid {
            children_by_parent(pid)
        } else {
            Vec::new()
        };
    }
    // What cannot be read is over: its children are the watcher's by now.
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The children of a process, among all processes.
fn children_by_parent(pid: i32) -> Vec<i32> {
    let parent_of = |child: &i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all = entries("/proc").into_iter();
    all.filter(|child| parent_of(child) == Some(pid)).collect()
}

/// `resident - shared` of `statm`.
fn private_pages(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut numbers = text.split_whitespace().skip(1).map(str::parse::<u64>);
    let resident = numbers.next()?.ok()?;
    let shared = numbers.next()?.ok()?;
    Some(resident.saturating_sub(shared))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn children_are_found_by_either_way() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (own, id) = (
            getpid().as_raw_nonzero().get(),
            i32::try_from(child.id()).unwrap(),
        );
        let listed: Vec<i32> = entries(&format!("/proc/{own}/task"))
            .into_iter()
            .flat_map(|thread| children(own, thread))
            .collect();
        let searched = children_by_parent(own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed.contains(&id), "{listed:?}");
        assert!(searched.contains(&id), "{searched:?}");
    }
}
