//! The programs of a backend: where they are, and the two things we do with them.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::kernel_modules::KernelModule;
use super::tables::{Family, TableName};
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::files;

/// The programs that a script may call, by the names that it uses.
pub(super) const NAMES: [&str; 6] = [
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
];

/// What legacy iptables locks during a change.
const LEGACY_LOCK: &str = "/run/xtables.lock";
/// For the lock, all tries of one load together.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// The same once a stop is asked for, which has a second for everything.
const LOCK_TIMEOUT_AT_STOP: Duration = Duration::from_millis(500);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// How a rule on trial fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    Taken,
    /// The kernel does not take such rules.
    Refused,
    /// It failed for another reason, or for an unknown one.
    Unclear,
}

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
    /// Asks waiting to end.
    stop: CancellationToken,
}

impl Programs {
    /// Looks for them everywhere but in `private_bin`, whose links point to what an earlier life
    /// chose. `None` where they are not installed.
    pub fn find(backend: Backend, private_bin: &Path) -> Option<Self> {
        let mut programs = Self {
            backend,
            found: Vec::new(),
            stop: CancellationToken::never(),
        };
        for name in NAMES {
            if let Some(program) = find_program(backend, name, private_bin) {
                programs.found.push((name, program));
            }
        }
        programs.named("iptables-restore")?;
        Some(programs)
    }

    /// Gives up waiting for others soon after `stop`.
    pub fn wait_until(&mut self, stop: &CancellationToken) {
        self.stop = stop.clone();
    }

    /// What ends its pauses.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Pauses before the next try, unless a stop is asked for.
    pub(super) fn pause(&self, duration: Duration) {
        // Trying once more is right after a stop too.
        let _ = self.stop.pause(duration);
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

    /// What loads in one step what it reads, keeping what that does not mention.
    pub(super) fn loading(&self, family: Family) -> Command {
        self.command(restore(family), &["--noflush", "--wait", "1"])
    }

    /// Loads `text` so. Where another program holds legacy's lock, it is waited for.
    pub(super) fn load(&self, family: Family, text: &str) -> Result<(), CommandError> {
        log::debug!("loading for {family:?}:\n{text}");
        let command = self.loading(family).input(text);
        let started = Instant::now();
        loop {
            self.wait_for_lock(started);
            if self.stop.is_cancelled() && self.is_locked() {
                return Err(CommandError::Interrupted {
                    program: restore(family).to_owned(),
                });
            }
            // A load is never given up half way, not even for a stop.
            match command.run(&CancellationToken::never()) {
                Err(error) if is_lock_held(&error) && self.may_wait(started) => {}
                result => return result.map(drop),
            }
        }
    }

    /// Waits while another program holds legacy's lock; here, as the wait of iptables itself heeds
    /// no stop.
    fn wait_for_lock(&self, started: Instant) {
        while self.is_locked() && self.may_wait(started) {
            thread::sleep(LOCK_INTERVAL);
        }
    }

    fn is_locked(&self) -> bool {
        self.backend == Backend::Legacy && files::is_locked(Path::new(LEGACY_LOCK))
    }

    fn may_wait(&self, started: Instant) -> bool {
        let timeout = match self.stop.is_cancelled() {
            true => LOCK_TIMEOUT_AT_STOP,
            false => LOCK_TIMEOUT,
        };
        started.elapsed() < timeout
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

    /// A table with its counters.
    pub(super) fn save_counted(
        &self,
        family: Family,
        table: TableName,
    ) -> Result<String, CommandError> {
        let name = if family == Family::V4 {
            "iptables-save"
        } else {
            "ip6tables-save"
        };
        self.command(name, &["-c", "-t", table.name()])
            .run(&self.stop)
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
    /// tried.
    ///
    /// A passing trouble looks the same as a missing module, and may begin or end between any two
    /// loads. So a module is missing only if its rule is refused twice, with a plain rule taken
    /// before, between and after; at the first doubt nothing more is asked.
    pub(super) fn missing(&self, modules: &BTreeSet<KernelModule>) -> Vec<KernelModule> {
        let mut missing = Vec::new();
        for module in modules {
            match self.is_missing(*module) {
                Some(true) => missing.push(*module),
                Some(false) => {}
                None => break,
            }
        }
        missing
    }

    /// `None` where it cannot be told.
    fn is_missing(&self, module: KernelModule) -> Option<bool> {
        let plain_is_taken = || self.try_rule(TableName::Filter, "-j RETURN") == Trial::Taken;
        let (table, rule) = module.probe();
        for _ in 0..2 {
            if !plain_is_taken() {
                return None;
            }
            match self.try_rule(table, rule) {
                Trial::Taken => return Some(false),
                Trial::Refused => {}
                Trial::Unclear => return None,
            }
        }
        plain_is_taken().then_some(true)
    }

    fn try_rule(&self, table: TableName, rule: &str) -> Trial {
        let text = format!("{table}\n:PIA_PROBE - [0:0]\n-A PIA_PROBE {rule}\nCOMMIT\n");
        let tried = self
            .load(Family::V4, &text)
            .and_then(|()| self.scrap(table));
        match tried {
            Ok(()) => Trial::Taken,
            Err(error) => {
                log::debug!("trying {rule}: {error}");
                match is_refusal(&error) {
                    true => Trial::Refused,
                    false => Trial::Unclear,
                }
            }
        }
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

fn restore(family: Family) -> &'static str {
    if family == Family::V4 {
        "iptables-restore"
    } else {
        "ip6tables-restore"
    }
}

/// Whether the kernel, or iptables itself, does not know what a rule asks for. A signal, a failed
/// fork and the exit status 4 (locked, busy, out of memory) tell nothing about a rule; but of
/// nf_tables a missing module has this status too, with words of its own.
pub(super) fn is_refusal(error: &CommandError) -> bool {
    let CommandError::Failed { status, stderr, .. } = error else {
        return false;
    };
    match status.code() {
        Some(1..=3) => true,
        Some(4) => stderr.contains("RULE_APPEND failed (No such file or directory)"),
        _ => false,
    }
}

/// Whether it has been waited for long enough, so that another try is of no use.
pub(super) fn is_final(error: &CommandError) -> bool {
    matches!(error, CommandError::Interrupted { .. }) || is_lock_held(error)
}

fn is_lock_held(error: &CommandError) -> bool {
    match error {
        CommandError::Failed { stderr, .. } => stderr.contains("xtables lock"),
        _ => false,
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
