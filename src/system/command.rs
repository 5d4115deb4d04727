//! Running other programs. Which ones, and what their failure means, is not known here.
//!
//! Every child leads a process group of its own, so that a stop ends it with all that it started.
//! Secrets go in by standard input or a file, never as arguments, which anybody may read in
//! `/proc`.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::cancellation::{CancellationToken, Guard};
use super::{files, paths};

/// How long a process group may take to obey SIGTERM before it gets SIGKILL: within the second that
/// a stop may take.
const SIGTERM_GRACE: Duration = Duration::from_millis(500);
/// How long output may still arrive after the child itself ended: a background process that it
/// left may hold the pipe for ever.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);
/// A longer line is passed on in pieces, as Docker's logs have it: some write for weeks without an
/// end of a line, such as progress that is written over and over.
const MAX_LINE_BYTES: u64 = 16 * 1024;
/// How much of a passed-on output is kept for the error message.
const MAX_LAST_LINES: usize = 5;

/// A program could not be run or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is missing, or cannot be executed.
    #[error("{program}: cannot be run: {source}{}", advice_on_spawning(.source))]
    NotRun { program: String, source: io::Error },
    /// It ended with a failure; `stderr` is the end of what it wrote to standard error.
    #[error("{program}: {}{}", status_in_words(*.status), after_colon(.stderr))]
    Failed {
        program: String,
        status: ExitStatus,
        stderr: String,
    },
    /// It was ended because a stop was asked for.
    #[error("{program}: interrupted by a request to stop")]
    Interrupted { program: String },
}

/// What to do where a process or a thread cannot be started for want of means.
pub fn advice_on_spawning(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            "; the container has as many processes as it may: raise its `pids_limit`"
        }
        io::ErrorKind::OutOfMemory => "; the container needs more memory: raise its `mem_limit`",
        _ => "",
    }
}

fn after_colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

impl CommandError {
    /// The same with another `stderr`, for callers that know which lines of it matter.
    pub fn with_stderr(self, stderr: String) -> Self {
        match self {
            Self::Failed {
                program, status, ..
            } => Self::Failed {
                program,
                status,
                stderr,
            },
            other => other,
        }
    }
}

/// The last line that says what is wrong: iptables adds a line number and how to get help.
pub(super) fn last_error_line(stderr: &str) -> &str {
    let is_further =
        |line: &&str| line.starts_with("Try `") || line.starts_with("Error occurred at line");
    stderr
        .trim()
        .lines()
        .rev()
        .find(|line| !is_further(line))
        .unwrap_or_default()
}

/// An exit status in words.
pub fn status_in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("ended by {signal}"),
            Err(_) => format!("ended by signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}

/// A program with its arguments and surroundings, ready to be run.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    input: Vec<u8>,
    environment: Option<Vec<(OsString, OsString)>>,
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    /// What logs show instead of the arguments.
    shown: Option<&'static str>,
}

impl Command {
    /// `program` is looked up in PATH unless it is a path.
    pub fn new<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned())
                .collect(),
            input: Vec::new(),
            environment: None,
            variables: Vec::new(),
            directory: None,
            shown: None,
        }
    }

    /// What it reads from standard input; the place for secrets. Empty otherwise.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Replaces the whole environment.
    pub fn environment(
        mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        self.environment = Some(environment.into_iter().collect());
        self
    }

    /// Adds or replaces one variable of the environment.
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The directory it runs in; our own where there is no such directory.
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = directory.is_dir().then(|| directory.to_owned());
        self
    }

    /// Logs show this instead of the arguments: they may hold what the user keeps secret.
    pub fn show_as(mut self, shown: &'static str) -> Self {
        self.shown = Some(shown);
        self
    }

    /// Runs it to the end and returns what it wrote to standard output.
    pub fn run(&self, stop: &CancellationToken) -> Result<String, CommandError> {
        log::debug!("[#] {self}");
        let (status, stdout, stderr) = self
            .run_with_files(stop)
            .map_err(|source| self.not_run(source))?;
        self.judge(status, last_error_line(&stderr), stop)?;
        Ok(stdout)
    }

    /// Input and outputs are files in memory. Pipes would need a thread each, which may be refused.
    fn run_with_files(&self, stop: &CancellationToken) -> io::Result<(ExitStatus, String, String)> {
        let (stdout, stderr) = (nameless()?, nameless()?);
        let handle = self
            .expression()
            .stdin_file(self.input_file()?)
            .stdout_file(stdout.try_clone()?)
            .stderr_file(stderr.try_clone()?)
            .start()?;
        let group = ProcessGroup::watch(&handle.pids(), stop);
        let status = handle.wait()?.status;
        drop(group);
        Ok((status, text_of(stdout)?, text_of(stderr)?))
    }

    /// Runs it to the end and hands each line that it writes, to either output, to `each_line` at
    /// once. It has ended when the program itself has; what it left in the background keeps
    /// running, its output is still passed on.
    ///
    /// # Errors
    /// As [`Self::run`]; the message has the last lines of the output.
    pub fn stream(
        &self,
        stop: &CancellationToken,
        each_line: impl Fn(&str) + Send + 'static,
    ) -> Result<(), CommandError> {
        log::debug!("[#] {self}");
        let (reader, writer) = io::pipe().map_err(|source| self.not_run(source))?;
        let writer_too = writer.try_clone().map_err(|source| self.not_run(source))?;
        let (ended, output_ended) = mpsc::channel();
        let pass_on = move || {
            let last = pass_on(reader, each_line);
            // The receiver is gone if the drain timeout is over.
            let _ = ended.send(last);
        };
        Builder::new()
            .spawn(pass_on)
            .map_err(|source| self.not_run(source))?;
        let input = self.input_file().map_err(|source| self.not_run(source))?;
        let handle = self
            .expression()
            .stdin_file(input)
            .stdout_file(writer)
            .stderr_file(writer_too)
            .start()
            .map_err(|source| self.not_run(source))?;
        let group = ProcessGroup::watch(&handle.pids(), stop);
        let status = handle.wait().map_err(|source| self.not_run(source))?.status;
        drop(group);
        let last = output_ended.recv_timeout(DRAIN_TIMEOUT).unwrap_or_default();
        self.judge(status, &last, stop)
    }

    /// Starts it with our own outputs and does not wait for it: it may outlive us.
    pub fn leave_running(&self) -> Result<(), CommandError> {
        log::debug!("[#] {self}");
        self.expression()
            .stdin_null()
            .start()
            .map(drop)
            .map_err(|source| self.not_run(source))
    }

    fn input_file(&self) -> io::Result<File> {
        let mut input = nameless()?;
        input.write_all(&self.input)?;
        input.rewind()?;
        Ok(input)
    }

    pub(super) fn expression(&self) -> duct::Expression {
        let mut expression = duct::cmd(&self.program, &self.arguments)
            .unchecked()
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            });
        if let Some(environment) = &self.environment {
            let mut environment = environment.clone();
            environment.extend(self.variables.iter().cloned());
            expression = expression.full_env(environment);
        } else {
            for (name, value) in &self.variables {
                expression = expression.env(name, value);
            }
        }
        if let Some(directory) = &self.directory {
            expression = expression.dir(directory);
        }
        expression
    }

    pub(super) fn judge(
        &self,
        status: ExitStatus,
        stderr: &str,
        stop: &CancellationToken,
    ) -> Result<(), CommandError> {
        if status.success() {
            return Ok(());
        }
        let program = self.name();
        if stop.is_cancelled() {
            return Err(CommandError::Interrupted { program });
        }
        Err(CommandError::Failed {
            program,
            status,
            stderr: stderr.to_owned(),
        })
    }

    /// That it could not be run.
    pub fn not_run(&self, source: io::Error) -> CommandError {
        CommandError::NotRun {
            program: self.name(),
            source,
        }
    }

    fn name(&self) -> String {
        Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .to_string_lossy()
            .into_owned()
    }
}

/// As wg-quick prints commands: program and arguments, unless these are not to be shown.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.display())?;
        if let Some(shown) = self.shown {
            return write!(f, " {shown}");
        }
        for argument in &self.arguments {
            write!(f, " {}", argument.display())?;
        }
        Ok(())
    }
}

/// Passes each line on and returns the last ones joined, without the commands that wg-quick prints.
fn pass_on(reader: io::PipeReader, each_line: impl Fn(&str)) -> String {
    let mut last = VecDeque::new();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let read = Read::take(&mut reader, MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if !read.is_ok_and(|length| length > 0) {
            break;
        }
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
        let line = line.trim_end_matches('\r');
        each_line(line);
        // After a failure wg-quick prints the commands that undo its work; they would hide why.
        if !line.trim().is_empty() && !line.starts_with("[#]") {
            last.push_back(line.trim().to_owned());
        }
        if last.len() > MAX_LAST_LINES {
            last.pop_front();
        }
    }
    Vec::from(last).join(" / ")
}

/// A running child with all its descendants; as long as this lives, a stop ends them.
struct ProcessGroup {
    leaders: Vec<Pid>,
    stop: CancellationToken,
    _guard: Guard,
    gone: CancellationToken,
}

impl ProcessGroup {
    fn watch(pids: &[u32], stop: &CancellationToken) -> Self {
        let gone = CancellationToken::new();
        let leaders: Vec<Pid> = pids
            .iter()
            .filter_map(|pid| i32::try_from(*pid).ok())
            .map(Pid::from_raw)
            .collect();
        let (ended, signalled) = (gone.clone(), leaders.clone());
        let registration = stop.on_cancel(move || {
            signal_all(&signalled, Signal::SIGTERM);
            let kill = move || {
                if ended.pause(SIGTERM_GRACE).is_ok() {
                    signal_all(&signalled, Signal::SIGKILL);
                }
            };
            // Where a thread is refused, whoever asked for the stop waits for that.
            let kill_here = kill.clone();
            if Builder::new().spawn(kill).is_err() {
                kill_here();
            }
        });
        Self {
            leaders,
            stop: stop.clone(),
            _guard: registration,
            gone,
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.gone.cancel();
        // Between fork and exec a shell's child still has the shell's signal handlers, so the first
        // SIGTERM may have had no effect on it.
        if self.stop.is_cancelled() {
            signal_all(&self.leaders, Signal::SIGTERM);
        }
    }
}

/// An empty file that has no name.
pub(super) fn nameless() -> io::Result<File> {
    files::nameless(Path::new(paths::RUN))
}

/// All that was written to the file.
pub(super) fn text_of(mut file: File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    io::copy(&mut file, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn signal_all(leaders: &[Pid], signal: Signal) {
    for leader in leaders {
        // It may have ended in this moment.
        let _ = killpg(*leader, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn iptables_help_is_not_what_is_wrong() {
        let stderr = "iptables-restore: unable to initialize table 'filter'\nError occurred at \
                    line: 1\n\
                    Try `iptables-restore -h' or 'iptables-restore --help' for more information.\n";
        assert_eq!(
            last_error_line(stderr),
            "iptables-restore: unable to initialize table 'filter'"
        );
        assert_eq!(last_error_line(""), "");
    }

    fn bash(text: &str) -> Command {
        Command::new("bash", ["-c", text])
    }

    #[test]
    fn output_is_returned_and_input_is_given() {
        assert_eq!(
            Command::new("cat", [""; 0])
                .input("secret")
                .run(&CancellationToken::new())
                .unwrap(),
            "secret"
        );
    }

    #[test]
    fn a_line_without_an_end_is_passed_on_in_pieces() {
        let (line, lines) = mpsc::channel();
        let text = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end";
        bash(text)
            .stream(&CancellationToken::new(), move |text| {
                line.send(text.len()).unwrap();
            })
            .unwrap();
        let lengths: Vec<usize> = lines.iter().collect();
        assert_eq!(lengths.len(), 8, "{lengths:?}");
        assert_eq!(lengths.iter().sum::<usize>(), 100_003);
    }

    #[test]
    fn a_failure_names_program_status_and_last_line() {
        let error = bash("echo first >&2; echo why >&2; exit 3")
            .run(&CancellationToken::new())
            .unwrap_err();
        assert_eq!(error.to_string(), "bash: exit status 3: why");
    }

    #[test]
    fn arguments_that_are_not_to_be_shown_are_not() {
        let command = bash("login -p hunter22").show_as("-c (hook)");
        assert_eq!(command.to_string(), "bash -c (hook)");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Command::new("no-such-program", [""; 0])
            .run(&CancellationToken::new())
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no-such-program: cannot be run: "),
            "{error}"
        );
    }

    #[test]
    fn a_stop_ends_the_whole_group_even_where_sigterm_is_ignored() {
        let stop = CancellationToken::new();
        let requested = stop.clone();
        let started = Instant::now();
        let (line, lines) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            bash("trap '' TERM; echo ready; sleep 100 & wait; sleep 100").stream(
                &stop,
                move |text| {
                    line.send(text.to_owned()).unwrap();
                },
            )
        });
        assert_eq!(lines.recv().unwrap(), "ready");
        requested.cancel();
        assert!(matches!(
            thread.join().unwrap(),
            Err(CommandError::Interrupted { .. })
        ));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_survives_the_first_sigterm_of_a_stop_gets_a_second_one_when_the_leader_has_ended() {
        let stop = CancellationToken::new();
        let requested = stop.clone();
        let (line, lines) = mpsc::channel();
        // As a shell's child is between fork and exec: the first SIGTERM only reaches a handler
        // that is on its way out.
        let child = "(trap 'trap - TERM' TERM; echo $BASHPID; while :; do sleep 0.02; done) &";
        let leader = format!("trap 'sleep 0.3; exit' TERM; {child} while :; do wait; done");
        let thread = std::thread::spawn(move || {
            bash(&leader).stream(&stop, move |text| {
                let _ = line.send(text.to_owned());
            })
        });
        let child = Path::new("/proc").join(lines.recv().unwrap());
        requested.cancel();
        assert!(matches!(
            thread.join().unwrap(),
            Ok(()) | Err(CommandError::Interrupted { .. })
        ));
        let asked = Instant::now();
        let is_running =
            || std::fs::read_to_string(child.join("stat")).is_ok_and(|stat| !stat.contains(") Z "));
        while is_running() {
            assert!(
                asked.elapsed() < Duration::from_secs(5),
                "the child runs on"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_child_left_in_the_background_holds_nothing_up() {
        let started = Instant::now();
        bash("sleep 30 & echo done")
            .stream(&CancellationToken::new(), |_| ())
            .unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
