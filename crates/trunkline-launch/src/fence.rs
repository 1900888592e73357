//! What makes one call kill a whole family, however fast it multiplies.
//!
//! Whoever goes from process to process can be outrun by one that forks and goes away. `kill(-1)` cannot: the kernel goes
//! through all processes while none can be added. It means everybody that one may signal, for root the whole machine; a
//! Landlock domain in which signals are scoped (ABI 6, Linux 6.12) makes that this process's descendants and nobody else.
//!
//! So the watcher is in such a domain itself, from before there is a program. That it is has to be seen, not believed:
//! there is no [`Fence`] unless its own parent could be signalled before and cannot be any more.

use landlock::{
    CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};
use nix::sys::signal::{Signal, kill};
use rustix::io::Errno;
use rustix::process::{getppid, test_kill_process};

/// Says that this process can signal its own descendants and nobody else, for good: a domain is never left.
#[derive(Debug)]
pub(crate) struct Fence(());

impl Fence {
    /// Puts this process, which must have one thread and no children yet, behind a fence, if this kernel can.
    pub(crate) fn raise() -> Option<Self> {
        let parent = getppid()?;
        test_kill_process(parent).ok()?;
        enter().ok()?;
        let outside = test_kill_process(parent);
        // Of a parent that went away meanwhile nothing can be learnt.
        (outside == Err(Errno::PERM) && getppid() == Some(parent)).then_some(Self(()))
    }

    /// Kills everybody behind it, but not this process.
    #[expect(
        clippy::unused_self,
        reason = "whoever has no fence must not be able to say this"
    )]
    pub(crate) fn kill(&self) {
        // Nobody left is no error.
        let _ = kill(nix::unistd::Pid::from_raw(-1), Signal::SIGKILL);
    }
}

fn enter() -> Result<(), RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::Signal)?
        .create()?
        .set_compatibility(CompatLevel::BestEffort)
        // Everybody whom `kill(-1)` leaves alone would be a line of the machine's audit log.
        .log_same_exec(false)?
        .restrict_self()?;
    Ok(())
}
