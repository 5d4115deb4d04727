//! What a container takes while nothing happens, by the kernel's own counters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::container::Container;

/// What a while of rest took.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Wake-ups of threads that were there all the time, by their names.
    pub wake_ups: BTreeMap<String, u64>,
    /// Processes and threads.
    pub made: u64,
    /// Processor time of the program itself, without its children's.
    pub cpu: Duration,
}

impl Rest {
    /// Of all threads.
    pub fn all_wake_ups(&self) -> u64 {
        self.wake_ups.values().sum()
    }
}

impl Container {
    /// Leaves it alone for so long.
    pub fn rest(&self, duration: Duration) -> Rest {
        let made = || {
            let last = self.shell("cat /proc/sys/kernel/ns_last_pid");
            let last: u64 = last.trim().parse().unwrap_or(0);
            // A user-space WireGuard takes another thread now and then.
            let others = members(self.pid(), Whose::WireGuard).into_iter();
            let others: usize = others.map(|member| threads_of(&member).count()).sum();
            last.saturating_sub(u64::try_from(others).unwrap_or(0))
        };
        // To look makes processes too.
        let by_look = made().abs_diff(made());
        let (made_before, awake, cpu) = (made(), self.wake_ups(), self.cpu());
        std::thread::sleep(duration);
        let cpu = self.cpu().saturating_sub(cpu);
        let mut wake_ups = self.wake_ups();
        for (thread, count) in &mut wake_ups {
            *count -= awake.get(thread).copied().unwrap_or(0).min(*count);
        }
        wake_ups.retain(|_, count| *count > 0);
        Rest {
            wake_ups,
            made: made().saturating_sub(made_before).saturating_sub(by_look),
            cpu,
        }
    }

    /// The names of its threads, one for each, in order; its processes but WireGuard's included.
    pub fn threads_by_name(&self) -> Vec<String> {
        let names = self.threads().filter_map(|thread| {
            let name = fs::read_to_string(thread.join("comm")).ok()?;
            Some(name.trim().to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    /// The heaps that glibc has made for single threads of its processes but WireGuard's. Each is
    /// the beginning of 64 MiB that are reserved for it.
    pub fn heaps_of_threads(&self) -> usize {
        let maps = members(self.pid(), Whose::Ours)
            .into_iter()
            .filter_map(|member| fs::read_to_string(member.join("maps")).ok());
        maps.map(|maps| heaps_of_threads(&maps)).sum()
    }

    /// The TCP ports of its network on which somebody listens.
    pub fn listening(&self) -> Vec<u16> {
        let tables = ["tcp", "tcp6"].map(|name| format!("/proc/{}/net/{name}", self.pid()));
        let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
        let port = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (_, port) = words.next()?.rsplit_once(':')?;
            // 0A is LISTEN.
            let listens = words.nth(1)? == "0A";
            listens.then(|| u16::from_str_radix(port, 16).ok())?
        };
        tables
            .iter()
            .flat_map(|table| table.lines().filter_map(port))
            .collect()
    }

    /// Bytes of this kind, as `/proc/PID/status` names it, of all its processes but WireGuard's.
    pub fn memory(&self, kind: &str) -> u64 {
        let status = members(self.pid(), Whose::Ours)
            .into_iter()
            .filter_map(|member| fs::read_to_string(member.join("status")).ok());
        let kilobytes: u64 = status.filter_map(|status| value(&status, kind)).sum();
        kilobytes * 1024
    }

    fn threads(&self) -> impl Iterator<Item = PathBuf> {
        let processes = members(self.pid(), Whose::Ours).into_iter();
        processes.flat_map(|process| threads_of(&process))
    }

    /// How often its threads were woken up so far.
    fn wake_ups(&self) -> BTreeMap<String, u64> {
        let mut wake_ups = BTreeMap::new();
        for thread in self.threads() {
            let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
            let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
            let count = value(&status, "voluntary_ctxt_switches").unwrap_or(0);
            *wake_ups.entry(name.trim().to_owned()).or_default() += count;
        }
        wake_ups
    }

    /// What its threads have used so far.
    fn cpu(&self) -> Duration {
        let used = self.threads().filter_map(|thread| {
            let statistics = fs::read_to_string(thread.join("schedstat")).ok()?;
            statistics.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(used.sum())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    WireGuard,
    Ours,
}

/// The processes of one kind in the PID namespace of this one.
fn members(pid: i32, whose: Whose) -> Vec<PathBuf> {
    let place = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let own = place(&Path::new("/proc").join(pid.to_string()));
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let is_wireguard = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        name.starts_with("wireguard-go")
    };
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| own.is_some() && place(path) == own)
        .filter(|path| is_wireguard(path) == (whose == Whose::WireGuard))
        .collect()
}

fn heaps_of_threads(maps: &str) -> usize {
    const RESERVED: u64 = 64 << 20;
    let ranges: Vec<(u64, u64, &str)> = maps.lines().filter_map(mapped_range).collect();
    let pairs = ranges.iter().zip(ranges.iter().skip(1));
    let heaps = pairs.filter(|(used, reserved)| {
        let (start, end, rights) = **used;
        let (next, next_end, next_rights) = **reserved;
        (rights, next_rights, next) == ("rw-p", "---p", end)
            && start.is_multiple_of(RESERVED)
            && next_end.is_multiple_of(RESERVED)
    });
    heaps.count()
}

/// First address, end and rights, from a line of `/proc/PID/maps`.
fn mapped_range(line: &str) -> Option<(u64, u64, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?, rest.get(..4)?))
}

fn threads_of(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let tasks = fs::read_dir(process.join("task")).into_iter().flatten();
    tasks.flatten().map(|task| task.path())
}

/// A number in `/proc/PID/status`.
fn value(status: &str, name: &str) -> Option<u64> {
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.into_iter().find(|(found, _)| *found == name)?;
    value.trim().trim_end_matches(" kB").parse().ok()
}
