//! Giving up all that a process could do harm with.

use std::io;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// `nobody`, who owns nothing.
const NOBODY: u32 = 65534;

/// Becomes an ordinary user without capabilities, for good, and ends when the parent does. To be
/// called before there is a second thread.
///
/// # Errors
/// When the kernel refuses to take the capabilities away. A container whose root may not change
/// its user (without CAP_SETUID) stays root, without a capability.
pub fn drop_all() -> io::Result<()> {
    set_no_new_privs(true)?;
    if geteuid().is_root() && setgroups(&[]).is_ok() && setgid(Gid::from_raw(NOBODY)).is_ok() {
        // Refused only where it is not root's to do, and then there is nothing to give up.
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
    Ok(())
}
