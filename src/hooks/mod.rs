//! Users' commands at the stages of the container's life.
//!
//! A stage runs its script file first, then the variable's text. Neither failure is fatal: it is
//! logged.

pub mod own_script;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::{files, paths};

/// Moments of the container's life at which users' commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    PreUp,
    PostUp,
    PreDown,
    PostDown,
    PreReconnect,
    PostReconnect,
}

impl Stage {
    /// As in the script's name and the log's prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreUp => "pre-up",
            Self::PostUp => "post-up",
            Self::PreDown => "pre-down",
            Self::PostDown => "post-down",
            Self::PreReconnect => "pre-reconnect",
            Self::PostReconnect => "post-reconnect",
        }
    }

    /// The mounted script of this stage; reconnects have a variable only, as in the original.
    fn script(self) -> Option<PathBuf> {
        match self {
            Self::PreReconnect | Self::PostReconnect => None,
            _ => Some(Path::new(paths::HOOK_SCRIPTS).join(format!("{}.sh", self.name()))),
        }
    }

    /// Whether there is a script to run.
    pub fn has_script(self) -> bool {
        self.script()
            .is_some_and(|script| kind_of(&script) == Kind::Executable)
    }

    /// The script, if it is there and executable; warns where it is not executable.
    fn executable_script(self) -> Option<PathBuf> {
        let script = self.script()?;
        match kind_of(&script) {
            Kind::Executable => Some(script),
            Kind::NotExecutable => {
                log::warn!(
                    "{} is not executable and therefore not run; chmod +x it",
                    script.display()
                );
                None
            }
            Kind::NoFile => None,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Executable,
    NotExecutable,
    NoFile,
}

fn kind_of(script: &Path) -> Kind {
    match std::fs::metadata(script) {
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => Kind::Executable,
        Ok(found) if found.is_file() => Kind::NotExecutable,
        _ => Kind::NoFile,
    }
}

/// What hooks are run with.
pub struct Surroundings<'a> {
    /// The program's environment with what `PRE_UP` changed and the `VPN_*` variables.
    pub environment: &'a [(OsString, OsString)],
    /// Ends a running hook.
    pub stop: &'a CancellationToken,
}

/// Runs the stage's script, then `text`. What has not begun when a stop is asked for does not
/// begin.
pub fn run(stage: Stage, text: Option<&str>, around: &Surroundings<'_>) {
    if !around.stop.is_cancelled() {
        run_script(stage, around);
    }
    if let Some(text) = text.filter(|_| !around.stop.is_cancelled()) {
        run_text(stage.name(), text, around);
    }
}

/// Runs a command line as `bash -c` takes it, its output prefixed with `[name]`.
pub fn run_text(name: &'static str, text: &str, around: &Surroundings<'_>) {
    log::info!("Running {name} hook");
    report(name, stream(name, shell(text), around));
}

/// The user's text as `bash -c` takes it; logs must not show it, for it may hold secrets.
fn shell(text: &str) -> Command {
    Command::new("bash", ["-c", text]).show_as("-c (hook)")
}

fn run_script(stage: Stage, around: &Surroundings<'_>) {
    let Some(script) = stage.executable_script() else {
        return;
    };
    let name = stage.name();
    log::info!("Running {}", script.display());
    let mut result = stream(name, Command::new(&script, [""; 0]), around);
    // A script without a `#!` line: the original's shell ran it, so ours does.
    if let Err(CommandError::NotRun { source, .. }) = &result
        && source.raw_os_error() == Some(nix::libc::ENOEXEC)
    {
        result = stream(name, Command::new("bash", [&script]), around);
    }
    report(name, result);
}

/// Runs the text of `PRE_UP`, and returns the environment as the text left it: its assignments to
/// our variables take effect, because in the original it ran inside the program's own shell, and so
/// do its exports.
pub fn run_pre_up(
    text: &str,
    ours: &[String],
    around: &Surroundings<'_>,
) -> Vec<(OsString, OsString)> {
    let name = Stage::PreUp.name();
    log::info!("Running {name} hook");
    let afterwards = match AfterwardsFile::new(ours) {
        Ok(afterwards) => afterwards,
        Err(error) => {
            log::warn!("{name}: {error}; what it assigns to variables has no effect");
            report(name, stream(name, shell(text), around));
            return Vec::new();
        }
    };
    let command = shell(text).variable("BASH_ENV", files::path_for_children(&afterwards.prologue));
    report(name, stream(name, command, around));
    afterwards.read()
}

/// Makes the shell of `PRE_UP` tell its variables when it exits.
struct AfterwardsFile {
    prologue: File,
    variables: File,
}

impl AfterwardsFile {
    fn new(ours: &[String]) -> std::io::Result<Self> {
        // Without names, as the values include the password: a kill leaves nothing of them.
        let mut prologue = files::nameless(Path::new(paths::RUN))?;
        let variables = files::nameless(Path::new(paths::RUN))?;
        let path = files::path_for_children(&variables);
        prologue.write_all(
            include_str!("../../scripts/pre-up-prologue.bash")
                .replace("@VARIABLES@", &ours.join(" "))
                .replace("@FILE@", &path.display().to_string())
                .as_bytes(),
        )?;
        Ok(Self {
            prologue,
            variables,
        })
    }

    fn read(mut self) -> Vec<(OsString, OsString)> {
        let mut bytes = Vec::new();
        if let Err(error) = std::io::copy(&mut self.variables, &mut bytes) {
            log::warn!("pre-up: its variables cannot be read: {error}");
        }
        assignments(&bytes)
    }
}

/// `NAME=value` pairs, each ended by a NUL byte.
fn assignments(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    use std::os::unix::ffi::OsStringExt;
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at_checked(equals)?;
            Some((
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(value.get(1..)?.to_vec()),
            ))
        })
        .collect()
}

fn stream(
    name: &'static str,
    command: Command,
    around: &Surroundings<'_>,
) -> Result<(), CommandError> {
    command
        .environment(around.environment.iter().cloned())
        .directory(Path::new(paths::WORKING_DIRECTORY))
        .stream(around.stop, move |line| log::info!("[{name}] {line}"))
}

fn report(name: &str, result: Result<(), CommandError>) {
    match result {
        Ok(()) => {}
        Err(CommandError::Failed { status, .. }) => {
            log::warn!(
                "The {name} hook failed ({}); going on",
                crate::system::command::status_in_words(status)
            );
        }
        Err(error) => log::warn!("The {name} hook: {error}"),
    }
}

/// Runs a command line in the background with `argument` appended, its output prefixed with
/// `[name]`; not before the thread `after` has ended.
pub fn run_in_background(
    name: &'static str,
    text: &str,
    argument: &str,
    environment: Vec<(OsString, OsString)>,
    stop: &CancellationToken,
    after: Option<JoinHandle<()>>,
) -> Option<JoinHandle<()>> {
    let text = format!("{text} {argument}");
    let stop = stop.clone();
    let spawned = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // However that ended.
            let _ = after.map(JoinHandle::join);
            let around = Surroundings {
                environment: &environment,
                stop: &stop,
            };
            run_text(name, &text, &around);
        });
    spawned
        .inspect_err(|error| log::warn!("{name} cannot be run: {error}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Vec<(String, String)> {
        let stop = CancellationToken::new();
        let environment = [
            ("PATH".into(), std::env::var_os("PATH").unwrap()),
            ("LOC".into(), "a".into()),
        ];
        let around = Surroundings {
            environment: &environment,
            stop: &stop,
        };
        run_pre_up(text, &["LOC".into(), "MTU".into(), "PASS".into()], &around)
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect()
    }

    fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
        pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn pre_up_changes_our_variables_exported_or_not() {
        let pairs = after("LOC=$(echo swiss); MTU=1300; export OTHER='two\nlines'");
        assert_eq!(value(&pairs, "LOC"), Some("swiss"));
        assert_eq!(value(&pairs, "MTU"), Some("1300"));
        assert_eq!(value(&pairs, "OTHER"), Some("two\nlines"));
        assert_eq!(value(&pairs, "PASS"), None);
        assert_eq!(value(&pairs, "BASH_ENV"), None);
    }

    #[test]
    fn pre_up_that_exits_or_fails_still_tells_its_variables() {
        assert_eq!(value(&after("LOC=b; exit 3"), "LOC"), Some("b"));
        assert_eq!(
            value(&after("set -e; LOC=c; false; LOC=d"), "LOC"),
            Some("c")
        );
    }

    #[test]
    fn pre_up_can_unset_a_variable() {
        assert_eq!(value(&after("unset LOC"), "LOC"), Some(""));
    }
}
