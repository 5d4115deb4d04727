//! Users' commands at the stages of the container's life.
//!
//! A stage runs its script file first, then the variable's text. Neither failure is fatal: it is
//! logged. But a text may end the container, by `exit` or `kill $$`.

pub mod background;
pub mod own_script;
pub mod shell;

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths;

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
    /// The variable that holds the stage's text.
    pub fn variable(self) -> &'static str {
        match self {
            Self::PreUp => "PRE_UP",
            Self::PostUp => "POST_UP",
            Self::PreDown => "PRE_DOWN",
            Self::PostDown => "POST_DOWN",
            Self::PreReconnect => "PRE_RECONNECT",
            Self::PostReconnect => "POST_RECONNECT",
        }
    }

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
    /// The program's environment with what earlier hooks changed and what it tells hooks.
    pub environment: &'a [(OsString, OsString)],
    /// Ends a running hook; a text can ask for it.
    pub stop: &'a CancellationToken,
}

/// Runs the stage's script, if there is one.
pub fn run_script(stage: Stage, around: &Surroundings<'_>) {
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
    if let Err(CommandError::NotRun { source, .. }) = &result
        && source.kind() == ErrorKind::NotFound
        && let Some(why) = missing_interpreter(&script)
    {
        log::warn!("The {name} hook: {} {why}", script.display());
        return;
    }
    report(name, result);
}

/// What is wrong with a script that is there, though the kernel says that it is not: it means the
/// program that the first line names.
fn missing_interpreter(script: &Path) -> Option<String> {
    const LONGEST_LINE: u64 = 256;
    let mut start = Vec::new();
    let file = File::open(script).ok()?;
    file.take(LONGEST_LINE).read_to_end(&mut start).ok()?;
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    if line.ends_with(b"\r") {
        let cure = "save it with those of Unix, by dos2unix for example";
        return Some(format!("has Windows line endings; {cure}"));
    }
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_whitespace().next()?;
    Some(format!("wants {interpreter}, which is not there"))
}

/// Runs a command line as `bash -c` takes it, its output prefixed with `[name]`.
pub fn run_text(name: &'static str, text: &str, around: &Surroundings<'_>) {
    log::info!("Running {name} hook");
    report(name, stream(name, shell(text), around));
}

/// A text that is told the port: it is appended, and the first argument of the text itself, as in
/// the original, which evaluates it in a script that is given the port.
pub fn with_port(text: &str, port: u16) -> String {
    format!("set -- {port}\n{text} {port}")
}

/// The user's text as `bash -c` takes it; logs must not show it, for it may hold secrets.
fn shell(text: &str) -> Command {
    Command::new("bash", ["-c", text]).show_as("-c (hook)")
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
