//! Privileges of a program whose gateway runs as root: of the kernel's, only those about files are left.

use rustix::io;
use rustix::process::getuid;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};

/// What a root program keeps: using files of other owners (mounted folders), within the paths that it is allowed.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// Gives up what is not kept. Returns whether there was anything to give up.
pub(crate) fn give_up() -> io::Result<bool> {
    let now = rustix::thread::capabilities(None)?;
    if now.permitted.is_empty() && !getuid().is_root() {
        return Ok(false);
    }
    if now.permitted.contains(CapabilitySet::SETPCAP) {
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            // Numbers that this kernel does not know are refused, and are nobody's.
            if !KEPT.contains(one) && remove_capability_from_bounding_set(one).is_err() {
                break;
            }
        }
        // So that being root gives nothing back at `exec`.
        set_capabilities_secure_bits(
            CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED,
        )?;
    }
    let _ = clear_ambient_capability_set();
    let kept = if getuid().is_root() {
        KEPT & now.permitted
    } else {
        CapabilitySet::empty()
    };
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        },
    )?;
    if !kept.is_empty() {
        // With NO_ROOT, `exec` keeps what is ambient alone.
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if kept.contains(one) {
                rustix::thread::configure_capability_in_ambient_set(one, true)?;
            }
        }
    }
    Ok(true)
}
