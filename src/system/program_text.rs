//! The program's own code and constants in memory.

use std::ffi::c_void;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Most lines are shorter.
const LINE: usize = 256;

/// A part of the program's file as it is mapped.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    length: usize,
}

/// Drops what is resident of the program's file: a start, a reconnect or a renewal uses most of
/// it, and then it is of no use for hours. It stays in the page cache, but is not counted as ours
/// any more; what is used again is mapped again, a few pages at a time.
///
/// # Errors
/// When the kernel does not say what is mapped, or refuses; nothing is lost then.
pub fn drop_resident_pages() -> io::Result<()> {
    let own = fs::read_link("/proc/self/exe")?;
    // A line at a time: the whole of it would be the largest thing that is held.
    let smaps = BufReader::with_capacity(LINE, File::open("/proc/self/smaps")?);
    for mapping in as_the_file(smaps, &own.to_string_lossy())? {
        let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut(mapping.start)) else {
            continue;
        };
        drop_pages(start, mapping.length)?;
    }
    Ok(())
}

/// Which parts of the file `own` are as the file is, and stay so: nobody may write there, and no
/// page is a copy, in memory or swapped out, as those are that were relocated, or in which a
/// debugger has set a breakpoint.
fn as_the_file(mut smaps: impl BufRead, own: &str) -> io::Result<Vec<Mapping>> {
    let mut found = Vec::new();
    let mut candidate = None;
    let mut line = String::with_capacity(LINE);
    while smaps.read_line(&mut line)? > 0 {
        if let Some(mapping) = mapping(line.trim_end(), own) {
            candidate = mapping;
        } else if let Some(resident) = line.strip_prefix("Rss:") {
            // Emulators say so of everything, and of copies, too.
            candidate = candidate.filter(|_| !is_none(resident));
        } else if let Some(copies) = line.strip_prefix("Anonymous:") {
            candidate = candidate.filter(|_| is_none(copies));
        } else if let Some(copies) = line.strip_prefix("Swap:") {
            // It comes after that.
            found.extend(candidate.take().filter(|_| is_none(copies)));
        }
        line.clear();
    }
    Ok(found)
}

fn is_none(amount: &str) -> bool {
    amount.split_whitespace().eq(["0", "kB"])
}

/// `None` where the line begins no mapping, `Some(None)` where it begins one of no interest.
fn mapping(line: &str, own: &str) -> Option<Option<Mapping>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    let is_read_only = words.next().is_some_and(|rights| rights.starts_with("r-"));
    // After offset, device and inode; a path may have spaces.
    let path = line.split_once(" /").map(|(_, path)| path);
    let is_own = path.is_some() && path == own.strip_prefix('/');
    Some((is_read_only && is_own).then_some(Mapping { start, length }))
}

#[expect(
    unsafe_code,
    reason = "no library offers madvise(2) of what it has not mapped itself as a safe function"
)]
fn drop_pages(start: NonNull<c_void>, length: usize) -> io::Result<()> {
    // SAFETY: what is mapped there is what the file says, read-only and without a page of our own,
    // so whoever reads it next is given the same again.
    unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) }.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
00400000-00410000 r-xp 00018000 00:2f 1234 /usr/local/bin/wireguard-pia
Size:                 64 kB
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
00410000-00420000 r-xp 00018000 00:2f 1234 /usr/local/bin/wireguard-pia
Size:                 64 kB
Rss:                  64 kB
Anonymous:             4 kB
Swap:                  0 kB
VmFlags: rd mr mw me
00420000-00430000 r--p 00018000 00:2f 1234 /usr/local/bin/wireguard-pia
Size:                 64 kB
Rss:                   4 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
00430000-00440000 r--p 00018000 00:2f 1234 /usr/local/bin/wireguard-pia
Size:                 64 kB
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  4 kB
VmFlags: rd mr mw me
00440000-00450000 r--p 00018000 00:2f 1234 /usr/local/bin/wireguard-pia
Size:                 64 kB
Rss:                   0 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
00450000-00460000 rw-p 00018000 00:2f 1234 /usr/local/bin/wireguard-pia
Size:                 64 kB
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
00460000-00470000 r--p 00058000 00:2f 1234 /usr/local/bin/wireguard-pia
Rss:                  64 kB
Anonymous:             0 kB
00470000-00480000 rw-p 00000000 00:00 0 [heap]
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  0 kB
7f0000000000-7f0000010000 r-xp 00000000 00:2f 99 /usr/lib/libc.so.6
Rss:                  64 kB
Anonymous:             0 kB
Swap:                  0 kB
";

    #[test]
    fn only_what_is_as_the_file_is_counts() {
        let found = |own| as_the_file(SMAPS.as_bytes(), own).unwrap();
        let at = |start| Mapping {
            start,
            length: 0x10000,
        };
        let own = "/usr/local/bin/wireguard-pia";
        assert_eq!(found(own), [at(0x0040_0000), at(0x0042_0000)]);
        for other in [
            "/usr/local/bin/wireguard-pi",
            "usr/local/bin/wireguard-pia",
            "",
        ] {
            assert_eq!(found(other), []);
        }
    }

    #[test]
    fn the_program_runs_on() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssFile:"));
            let mut words = line.unwrap().split_ascii_whitespace();
            words.nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        drop_resident_pages().unwrap();
        assert!(resident() < before);
    }
}
