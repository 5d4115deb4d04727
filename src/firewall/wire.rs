//! A second filter, at the network card: no frame leaves that the packet filter did not let out.
//!
//! iptables does not see what a program with `NET_RAW` writes by a socket of the family
//! `AF_PACKET`; nf_tables' egress hook does. What iptables let out bears a stamp, a mark of 32
//! random bits that is new each life. The chain at the hook accepts that mark, wipes it, accepts
//! ARP, and drops the rest. So it knows nothing of the policy, and does not change with it.
//!
//! The chain is loaded before the stamp: as long as there is a stamp there is a chain that wipes
//! it, and nobody who listens on the interface ever sees it. What is sent in between is lost, so
//! where the chain can be had it is the first thing that closes a network.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use askama::Template;
use nix::ifaddrs::getifaddrs;
use nix::libc::ARPHRD_ETHER;
use nix::net::if_::if_nametoindex;
use ring::rand::{SecureRandom, SystemRandom};

use super::changes::{Change, Changer};
use super::tables::Family;
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::{interface_name, paths};

/// The table of ours, in the family netdev.
const TABLE: &str = "wireguard-pia";
/// Where the image has it: wg-quick would prefer an `nft` that it finds to iptables.
const OWN_NFT: &str = "/usr/local/libexec/wireguard-pia/nft";
/// What fails in passing is tried again.
pub(super) const MAX_TRIES: usize = 3;
const TRY_INTERVAL: Duration = Duration::from_millis(100);

/// Whether frames are filtered at the network card.
#[derive(Debug, Clone, Default)]
pub(super) enum Wire {
    /// Not tried yet, or no interface to do it for.
    #[default]
    Untried,
    Filtered(EgressFilter),
    /// It could not be had, for a reason that may pass, and is tried again.
    Owed(String),
    /// It cannot be had; with the reason.
    Open(String),
}

/// Why frames are not filtered.
pub(super) struct Unfiltered {
    pub why: String,
    pub may_pass: bool,
}

impl Unfiltered {
    pub(super) fn lastingly(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            may_pass: false,
        }
    }
}

/// The chains that are loaded, one an interface.
#[derive(Debug, Clone)]
pub(super) struct EgressFilter {
    nft: PathBuf,
    stamp: u32,
    pub interfaces: Vec<EgressInterface>,
    /// ip6tables stamps too. Where it cannot, no IPv6 leaves.
    pub ipv6: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EgressInterface {
    pub name: String,
    pub index: u32,
}

/// The marks that iptables is to set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamping<'a> {
    pub stamp: u32,
    pub interfaces: &'a [EgressInterface],
}

#[derive(Template)]
#[template(path = "egress.nft", escape = "none")]
struct Egress<'a> {
    table: &'a str,
    stamp: String,
    interfaces: &'a [EgressInterface],
}

#[derive(Template)]
#[template(path = "shut.nft", escape = "none")]
struct Shut<'a> {
    table: &'a str,
    interfaces: &'a [EgressInterface],
}

impl Wire {
    /// The program by which its chains can be listed, if there are any.
    pub fn nft(&self) -> Option<PathBuf> {
        match self {
            Self::Filtered(filter) => Some(filter.nft.clone()),
            _ => None,
        }
    }

    /// What this family's rules have to stamp.
    pub fn stamping(&self, family: Family) -> Stamping<'_> {
        match self {
            Self::Filtered(filter) if family == Family::V4 || filter.ipv6 => Stamping {
                stamp: filter.stamp,
                interfaces: &filter.interfaces,
            },
            _ => Stamping::default(),
        }
    }
}

impl EgressFilter {
    /// Loads chains with a stamp of their own. Those of an earlier life are replaced in the same
    /// transaction, so that there is no moment without any.
    pub fn load() -> Result<Self, Unfiltered> {
        let mut filter = Self::without_chains().map_err(Unfiltered::lastingly)?;
        match filter.cover() {
            Ok(()) => Ok(filter),
            Err(error) if is_want_of_means(&error) => Err(Unfiltered {
                why: format!("{error}, which is tried again"),
                may_pass: true,
            }),
            Err(error) => {
                log::debug!("egress hook: {error}");
                Err(Unfiltered::lastingly(
                    "nft cannot load a chain at the egress hook, which takes Linux 5.16 with \
                     CONFIG_NETFILTER_EGRESS",
                ))
            }
        }
    }

    /// Likewise before there are any rules, so that the network is closed from then on: tried once,
    /// and only where the kernel is likely to know the hook, as the rules are waiting. `None` where
    /// nothing has been loaded.
    pub fn load_first() -> Option<Self> {
        let interfaces = interfaces();
        if interfaces.is_empty() || !is_hook_likely() {
            return None;
        }
        let mut filter = Self::without_chains().ok()?;
        filter
            .load_chains(&interfaces)
            .inspect_err(|error| log::debug!("egress hook, before the rules: {error}"))
            .ok()?;
        filter.interfaces = interfaces;
        Some(filter)
    }

    fn without_chains() -> Result<Self, String> {
        Ok(Self {
            nft: find_nft().ok_or("the program nft is not installed")?,
            stamp: new_stamp().ok_or("there are no random numbers")?,
            interfaces: Vec::new(),
            ipv6: true,
        })
    }

    /// Whether nothing leaves but by an interface with a chain, or by the tunnel.
    pub fn covers_all(&self) -> bool {
        let known = |name: &str| {
            self.interfaces
                .iter()
                .any(|interface| interface.name == name)
        };
        getifaddrs().is_ok_and(|mut entries| {
            entries.all(|entry| {
                let name = entry.interface_name.as_str();
                name == "lo" || name == paths::INTERFACE || known(name)
            })
        })
    }

    /// Has a chain for each interface that there is, and for no other. What fails in passing is
    /// tried again.
    pub fn cover(&mut self) -> Result<(), CommandError> {
        let mut interfaces = interfaces();
        let mut loaded = self.load_chains(&interfaces);
        for _ in 1..MAX_TRIES {
            match &loaded {
                // One that has gone meanwhile is not found either.
                Err(error) if !is_unknown_to_kernel(error) || interfaces != self::interfaces() => {
                    thread::sleep(TRY_INTERVAL);
                }
                _ => break,
            }
            interfaces = self::interfaces();
            loaded = self.load_chains(&interfaces);
        }
        loaded?;
        self.interfaces = interfaces;
        Ok(())
    }

    fn load_chains(&self, interfaces: &[EgressInterface]) -> Result<(), CommandError> {
        load(&self.nft, &render(self.stamp, interfaces))
    }
}

/// Whether the kernel is as new as the one that brought the hook. An older one may have it all the
/// same.
fn is_hook_likely() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .is_ok_and(|release| version(&release) >= Some((5, 16)))
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether the kernel or this nft does not know the hook, so that another try is of no use.
fn is_unknown_to_kernel(error: &CommandError) -> bool {
    let text = error.to_string();
    ["not supported", "No such file or directory", "syntax error"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// Whether there was no process or no memory for it, or the kernel was busy.
fn is_want_of_means(error: &CommandError) -> bool {
    let signs = [
        "temporarily unavailable",
        "Cannot allocate memory",
        "out of memory",
        "resource busy",
    ];
    match error {
        CommandError::NotRun { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory
        ),
        CommandError::Failed { status, stderr, .. } => {
            status.code().is_none() || signs.iter().any(|sign| stderr.contains(sign))
        }
        CommandError::Interrupted { .. } => false,
    }
}

/// What follows from `why` it cannot be had, and what to do about it.
pub fn consequence(why: &str) -> String {
    format!(
        "frames that a program writes by itself (AF_PACKET) pass: {why}; add `cap_drop: \
         [NET_RAW]` to containers that share this network"
    )
}

/// Lets out nothing but ARP by these interfaces; by those that have a chain, what that lets out.
pub(super) fn shut(interfaces: &[EgressInterface]) -> Result<(), String> {
    let nft = find_nft().ok_or("the program nft is not installed")?;
    let table = TABLE;
    let text = Shut { table, interfaces }.to_string();
    load(&nft, &text).map_err(|error| error.to_string())
}

/// Takes the chains of an earlier life away.
pub(super) fn remove() {
    let Some(nft) = find_nft() else {
        return;
    };
    let tables = run(&nft, &["list", "tables", "netdev"]).unwrap_or_default();
    if tables
        .lines()
        .any(|line| line == format!("table netdev {TABLE}"))
        && let Err(error) = run(&nft, &["delete", "table", "netdev", TABLE])
    {
        log::error!("firewall: {error}: nothing leaves while the nft table netdev {TABLE} stands");
    }
}

/// The chains as they are in the kernel, counters included.
pub(super) fn list(nft: &Path) -> Result<String, CommandError> {
    run(nft, &["list", "table", "netdev", TABLE])
}

fn render(stamp: u32, interfaces: &[EgressInterface]) -> String {
    let egress = Egress {
        table: TABLE,
        stamp: format!("{stamp:#x}"),
        interfaces,
    };
    egress.to_string()
}

/// Loads what changes our table.
fn load(nft: &Path, text: &str) -> Result<(), CommandError> {
    let change = Change {
        command: Command::new(nft, ["-f", "-"]),
        text: text.to_owned(),
        tables: vec![TABLE.to_owned()],
        is_kept: false,
    };
    Changer::default().begin(change).outcome()
}

fn run(nft: &Path, arguments: &[&str]) -> Result<String, CommandError> {
    Command::new(nft, arguments).run(&CancellationToken::never())
}

fn find_nft() -> Option<PathBuf> {
    let own = PathBuf::from(OWN_NFT);
    if own.exists() {
        return Some(own);
    }
    ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

/// Nobody may guess it, so it is no number of a generator whose other numbers are sent.
fn new_stamp() -> Option<u32> {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).ok()?;
    match u32::from_ne_bytes(bytes) {
        // What every packet has from the start.
        0 => None,
        stamp => Some(stamp),
    }
}

/// The Ethernet interfaces that packets leave by untunnelled, in the order of their numbers.
pub(super) fn interfaces() -> Vec<EgressInterface> {
    let mut found = Vec::new();
    for entry in getifaddrs().into_iter().flatten() {
        let address = entry.address.as_ref();
        let hatype = address.and_then(|address| Some(address.as_link_addr()?.hatype()));
        let name = entry.interface_name;
        if hatype == Some(ARPHRD_ETHER)
            && name != paths::INTERFACE
            && interface_name::is_valid(&name)
            && !carries_another(&name)
            && let Ok(index) = if_nametoindex(name.as_str())
        {
            found.push(EgressInterface { name, index });
        }
    }
    found.sort_by_key(|interface| interface.index);
    found
}

/// Whether frames of others leave by it: of the ports of a bridge, of VLANs, of macvlans. They were
/// judged where they came from, or are not for us to judge.
fn carries_another(name: &str) -> bool {
    let directory = Path::new("/sys/class/net").join(name);
    directory.join("master").exists()
        || fs::read_dir(directory).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("upper_"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, is_newer) in [
            ("4.4.302+", false),
            ("5.4.0-200-generic", false),
            ("5.15.0", false),
            ("5.16.0-rc1", true),
            ("6.1.0-30-amd64", true),
            ("6.18.5\n", true),
            ("10.0", true),
            ("unknown", false),
            ("", false),
        ] {
            assert_eq!(version(release) >= Some((5, 16)), is_newer, "{release:?}");
        }
    }

    #[test]
    fn a_kernel_without_the_hook_is_asked_once() {
        use std::os::unix::process::ExitStatusExt;
        let failed = |stderr: &str| CommandError::Failed {
            program: "nft".into(),
            status: std::process::ExitStatus::from_raw(256),
            stderr: stderr.into(),
        };
        assert!(is_unknown_to_kernel(&failed(
            "Error: Could not process rule: Operation not supported"
        )));
        assert!(!is_unknown_to_kernel(&failed(
            "Error: Could not process rule: Device or resource busy"
        )));
    }

    #[test]
    fn the_chains_of_an_earlier_life_are_replaced_in_one_transaction() {
        let eth0 = EgressInterface {
            name: "eth0".into(),
            index: 7,
        };
        let text = render(0xabcd, &[eth0]);
        let expected = "table netdev wireguard-pia\ndelete table netdev wireguard-pia\n\
                        table netdev wireguard-pia {\n\n\tchain egress7 {\n\
                        \t\ttype filter hook egress device \"eth0\" priority 0; policy drop;\n\
                        \t\tmeta mark 0xabcd meta mark set 0 accept\n\
                        \t\tether type arp accept\n\t\tcounter drop\n\t}\n\n}";
        assert_eq!(text, expected);
    }
}
