//! The two iptables: which programs are which, and the two things we do with them.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::kernel_modules::KernelModule;
use super::rules::{Family, TableName};
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};

/// Which of the kernel's two packet filters iptables drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    NfTables,
    Legacy,
}

/// As `iptables --version` names it.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NfTables => "nf_tables",
            Self::Legacy => "legacy",
        })
    }
}

impl Backend {
    /// The one that `NFTABLES` names.
    pub fn from_nf_tables(is_nf_tables: bool) -> Self {
        if is_nf_tables {
            Self::NfTables
        } else {
            Self::Legacy
        }
    }

    /// The one that is not this.
    pub(super) fn other(self) -> Self {
        match self {
            Self::NfTables => Self::Legacy,
            Self::Legacy => Self::NfTables,
        }
    }

    /// The name under which a program of this backend is installed beside the other's:
    /// `iptables-nft-restore`.
    fn own_name(self, name: &str) -> String {
        match self {
            Self::NfTables => name.replacen("tables", "tables-nft", 1),
            Self::Legacy => name.replacen("tables", "tables-legacy", 1),
        }
    }

    fn multi_call(self) -> &'static str {
        match self {
            Self::NfTables => "xtables-nft-multi",
            Self::Legacy => "xtables-legacy-multi",
        }
    }
}

/// Uses what every policy needs, in a chain that nothing jumps to.
pub(super) const PROBE: &str = "*filter
:PIA_PROBE - [0:0]
-A PIA_PROBE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A PIA_PROBE -p udp -m mark --mark 0x1 --dport 1 -j ACCEPT
COMMIT
";

/// The programs that a script may call, by the names that it uses.
pub(super) const NAMES: [&str; 6] = [
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
];

/// Where a program is, and the applet to name when it is a multi-call binary.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub path: PathBuf,
    applet: Option<&'static str>,
}

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        Command::new(&self.path, self.applet.iter().chain(arguments))
    }
}

/// The programs of one backend.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub backend: Backend,
    pub found: Vec<(&'static str, Program)>,
}

impl Programs {
    /// Looks for them everywhere but in `private_bin`, whose links point to what an earlier life
    /// chose. `None` where they are not installed.
    pub fn find(backend: Backend, private_bin: &Path) -> Option<Self> {
        let mut plain = None;
        let mut plain_is_this =
            || *plain.get_or_insert_with(|| plain_backend(private_bin) == Some(backend));
        let mut program = |name: &'static str| {
            let named = |name: &str| look_up(name, private_bin);
            named(&backend.own_name(name))
                .map(|path| Program { path, applet: None })
                .or_else(|| {
                    named(backend.multi_call()).map(|path| Program {
                        path,
                        applet: Some(name),
                    })
                })
                .or_else(|| {
                    named(name)
                        .filter(|_| plain_is_this())
                        .map(|path| Program { path, applet: None })
                })
        };
        let found = NAMES
            .into_iter()
            .filter_map(|name| Some((name, program(name)?)))
            .collect();
        Some(Self { backend, found })
            .filter(|programs| programs.named("iptables-restore").is_some())
    }

    /// Loads `text` in one step, keeping what it does not mention.
    pub fn load(&self, family: Family, text: &str) -> Result<(), CommandError> {
        log::debug!("loading for {family:?}:\n{text}");
        let name = if family == Family::V4 {
            "iptables-restore"
        } else {
            "ip6tables-restore"
        };
        // Another program may hold legacy's lock. A load is never given up half way, not even for a
        // stop.
        self.command(name, &["--noflush", "--wait", "5"])
            .input(text)
            .run(&CancellationToken::never())
            .map(drop)
    }

    /// All tables, as iptables-restore would read them.
    pub fn save(&self, family: Family) -> Result<String, CommandError> {
        let name = if family == Family::V4 {
            "iptables-save"
        } else {
            "ip6tables-save"
        };
        self.command(name, &[]).run(&CancellationToken::never())
    }

    /// Finds out whether the backend takes `text`, [`PROBE`] or what is left of it, and leaves
    /// nothing behind.
    pub fn probe(&self, text: &str) -> Result<(), CommandError> {
        self.load(Family::V4, text)?;
        self.scrap(TableName::Filter)
    }

    /// Which of the modules that `text` needs are missing. `/proc` and `--test` do not tell: a rule
    /// has to be tried. A rule that is refused while a plain one is taken lacks its module; where
    /// both are, the reason is another.
    pub fn missing(&self, text: &str) -> Vec<KernelModule> {
        let takes = |table: TableName, rule: &str| {
            let text = format!("{table}\n:PIA_PROBE - [0:0]\n-A PIA_PROBE {rule}\nCOMMIT\n");
            let tried = self
                .load(Family::V4, &text)
                .and_then(|()| self.scrap(table));
            tried
                .inspect_err(|error| log::debug!("trying {rule}: {error}"))
                .is_ok()
        };
        let is_missing = |module: &KernelModule| {
            let (table, rule) = module.probe();
            !takes(table, rule) && takes(TableName::Filter, "-j RETURN")
        };
        KernelModule::used_in(text).filter(is_missing).collect()
    }

    fn scrap(&self, table: TableName) -> Result<(), CommandError> {
        self.load(
            Family::V4,
            &format!("{table}\n:PIA_PROBE - [0:0]\n-X PIA_PROBE\nCOMMIT\n"),
        )
    }

    fn named(&self, name: &str) -> Option<&Program> {
        self.found
            .iter()
            .find_map(|(found, program)| (*found == name).then_some(program))
    }

    fn command(&self, name: &'static str, arguments: &[&str]) -> Command {
        match self.named(name) {
            Some(program) => program.command(arguments),
            // Running it says that it is missing.
            None => Command::new(self.backend.own_name(name), arguments),
        }
    }
}

/// The backend of plain `iptables`, as others find it in PATH.
pub(super) fn plain_backend(private_bin: &Path) -> Option<Backend> {
    let path = look_up("iptables", private_bin)?;
    let target = path.canonicalize().unwrap_or_else(|_| path.clone());
    for backend in [Backend::NfTables, Backend::Legacy] {
        if target.ends_with(backend.multi_call()) {
            return Some(backend);
        }
    }
    let version = Command::new(path, ["--version"])
        .run(&CancellationToken::never())
        .ok()?;
    // Before 1.8 there was only legacy, and it did not say so.
    Some(if version.contains("nf_tables") {
        Backend::NfTables
    } else {
        Backend::Legacy
    })
}

fn look_up(name: &str, private_bin: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).filter(|directory| directory != private_bin);
    // `docker exec` and cron like to forget these.
    let directories = directories.chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let path: OsString = env::join_paths(directories).ok()?;
    which::which_in(name, Some(path), "/").ok()
}
