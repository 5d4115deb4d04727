//! How the C library manages what is allocated.

/// Has all threads share one heap. glibc otherwise gives every thread one of its own, in each of
/// which up to 128 KiB of what was freed stay: half a megabyte after a start, whose steps run in
/// threads. Other C libraries have one heap anyway.
///
/// To be called before there are threads. Where it is refused, there are as many as by default.
pub fn share_among_threads() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "no library offers mallopt(3) as a safe function"
    )]
    // SAFETY: it is given two numbers and keeps none of our memory.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}
