//! Giving up all that a process could do harm with.

use std::io;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// `nobody`, who owns nothing.
const NOBODY: u32 = 65534;

/// Becomes an ordinary user without capabilities, for good, and ends when the parent does. To be
/// called before there is a second thread. Returns whether it is one: where a container's root may
/// not change its user (without CAP_SETUID and CAP_SETGID) it stays root, without a capability.
///
/// # Errors
/// When the kernel refuses to take the capabilities away.
pub fn drop_all() -> io::Result<bool> {
    set_no_new_privs(true)?;
    if geteuid().is_root() && setgroups(&[]).is_ok() && setgid(Gid::from_raw(NOBODY)).is_ok() {
        // Refused only where it is not root's to do.
        let _ = setuid(Uid::from_raw(NOBODY));
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none)?;
    // After the change of the user, which would undo it.
    set_pdeathsig(Signal::SIGTERM)?;
    Ok(!geteuid().is_root())
}
