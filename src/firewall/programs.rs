//! The programs of a backend: where they are, and the two things we do with them.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::backend::Backend;
use super::kernel_modules::KernelModule;
use super::tables::{Family, TableName};
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};

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
pub struct Programs {
    pub(super) backend: Backend,
    pub(super) found: Vec<(&'static str, Program)>,
}

impl Programs {
    /// Looks for them everywhere but in `private_bin`, whose links point to what an earlier life
    /// chose. `None` where they are not installed.
    pub fn find(backend: Backend, private_bin: &Path) -> Option<Self> {
        let mut programs = Self {
            backend,
            found: Vec::new(),
        };
        for name in NAMES {
            if let Some(program) = find_program(backend, name, private_bin) {
                programs.found.push((name, program));
            }
        }
        programs.named("iptables-restore")?;
        Some(programs)
    }

    /// With another program under this name.
    pub fn replace(&mut self, name: &'static str, path: PathBuf) {
        self.found.retain(|(found, _)| *found != name);
        self.found.push((name, Program { path, applet: None }));
    }

    /// Where the program of this name is.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.named(name).map(|program| program.path.as_path())
    }

    /// Loads `text` in one step, keeping what it does not mention.
    pub(super) fn load(&self, family: Family, text: &str) -> Result<(), CommandError> {
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
    pub(super) fn save(&self, family: Family) -> Result<String, CommandError> {
        let name = if family == Family::V4 {
            "iptables-save"
        } else {
            "ip6tables-save"
        };
        self.command(name, &[]).run(&CancellationToken::never())
    }

    /// Finds out whether the backend takes what every policy needs, but for what is known to be
    /// missing, and leaves nothing behind.
    pub(super) fn probe(&self, missing: &[KernelModule]) -> Result<(), CommandError> {
        let mut text = String::from("*filter\n:PIA_PROBE - [0:0]\n");
        for module in KernelModule::ALWAYS_USED {
            if !missing.contains(&module) {
                let (_, rule) = module.probe();
                text += &format!("-A PIA_PROBE {rule}\n");
            }
        }
        self.load(Family::V4, &(text + "COMMIT\n"))?;
        self.scrap(TableName::Filter)
    }

    /// Which of these modules are missing. `/proc` and `--test` do not tell: a rule has to be
    /// tried. A rule that is refused while a plain one is taken lacks its module; where both are,
    /// the reason is another.
    pub(super) fn missing(&self, modules: &BTreeSet<KernelModule>) -> Vec<KernelModule> {
        let mut missing = Vec::new();
        for module in modules {
            let (table, rule) = module.probe();
            if !self.takes(table, rule) && self.takes(TableName::Filter, "-j RETURN") {
                missing.push(*module);
            }
        }
        missing
    }

    fn takes(&self, table: TableName, rule: &str) -> bool {
        let text = format!("{table}\n:PIA_PROBE - [0:0]\n-A PIA_PROBE {rule}\nCOMMIT\n");
        let tried = self
            .load(Family::V4, &text)
            .and_then(|()| self.scrap(table));
        if let Err(error) = &tried {
            log::debug!("trying {rule}: {error}");
        }
        tried.is_ok()
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

/// By its own name, as an applet of the backend's one binary, or by the plain name, if that is this
/// backend's.
fn find_program(backend: Backend, name: &'static str, private_bin: &Path) -> Option<Program> {
    if let Some(path) = look_up(&backend.own_name(name), private_bin) {
        return Some(Program { path, applet: None });
    }
    if let Some(path) = look_up(backend.multi_call(), private_bin) {
        return Some(Program {
            path,
            applet: Some(name),
        });
    }
    let path = look_up(name, private_bin)?;
    (plain_backend(private_bin) == Some(backend)).then_some(Program { path, applet: None })
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
