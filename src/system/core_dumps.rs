//! No core dumps: they would hold passwords and tokens.
//!
//! The process stays "dumpable" (prctl(2)) all the same: otherwise others in the container could no
//! longer write to `/proc/1/fd/1`, as users' scripts do to appear in its log.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Smaller than any dump, so that no file is written. Zero would not stop the kernel from passing a
/// dump to a program (`core_pattern` with a pipe); one does, core(5).
const MAX_CORE_BYTES: u64 = 1;

/// Forbids core dumps of this process and, unless they raise the limit, of its children.
pub fn forbid() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, MAX_CORE_BYTES.min(hard), hard)
}
