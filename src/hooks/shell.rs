//! The one shell that runs all texts, as it seems to them: variables, functions, umask, directory
//! and the numbers of background processes that one leaves are there in the next.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;

use super::{Stage, Surroundings, report, run_script, shell, stream};
use crate::system::command::{Command, CommandError};
use crate::system::{files, paths};

/// The last line of what a text leaves. Where it is missing, the shell was killed before it had
/// written all of it.
const END: &str = "# that is all";

/// What the texts that have ended left.
#[derive(Debug, Default)]
pub struct Shell(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    /// As commands of bash.
    commands: Vec<u8>,
    variables: Assignments,
}

/// Our variables, exported or not, and all exports; without a value where a text took one away.
type Assignments = BTreeMap<OsString, Option<OsString>>;

impl Left {
    /// What was taken away stays so: a text is not given it, and so says no more of it.
    fn follow(&mut self, next: Self) {
        self.commands = next.commands;
        self.variables.retain(|_, value| value.is_none());
        self.variables.extend(next.variables);
    }
}

/// The status with which a text wants the container to end, by `exit`.
pub type Exit = u8;

impl Shell {
    /// Our variables as the texts left them, and all that they exported; without a value where they
    /// took one away.
    pub fn variables(&self) -> BTreeMap<OsString, Option<OsString>> {
        self.left().variables.clone()
    }

    /// What the texts made of one of our variables; empty where they took it away.
    pub fn text(&self, name: &str) -> Option<String> {
        let left = self.left();
        let value = left.variables.get(OsStr::new(name))?;
        value
            .as_deref()
            .unwrap_or_default()
            .to_str()
            .map(str::to_owned)
    }

    /// Runs the hooks of a stage. What has not begun when a stop is asked for does not begin.
    pub fn run_stage(
        &self,
        stage: Stage,
        text: Option<&str>,
        ours: &[&str],
        around: &Surroundings<'_>,
    ) -> Option<Exit> {
        if !around.stop.is_cancelled() {
            run_script(stage, around);
        }
        let text = text.filter(|_| !around.stop.is_cancelled())?;
        self.run(stage.name(), text, ours, around)
    }

    /// Runs a text with its output prefixed with `[name]`; `ours` are the names of our variables.
    /// One that sends its own shell a stop signal asks for a stop.
    pub fn run(
        &self,
        name: &'static str,
        text: &str,
        ours: &[&str],
        around: &Surroundings<'_>,
    ) -> Option<Exit> {
        log::info!("Running {name} hook");
        let files = match Files::new(&self.left().commands) {
            Ok(files) => files,
            Err(error) => {
                log::warn!("{name}: {error}; later hooks do not see what it leaves");
                report(name, stream(name, shell(text), around));
                return None;
            }
        };
        let command = Command::new("bash", ["-c", &files.script(ours)])
            .show_as("-c (hook)")
            .variable("__hook_text", text);
        let result = stream(name, command, around);
        match files.read() {
            Ok(Some(left)) => {
                self.left().follow(left);
                log::debug!("The {name} hook has ended");
            }
            Ok(None) => {
                if let Some(exit) = exit_of(&result).filter(|_| !around.stop.is_cancelled()) {
                    log::info!("The {name} hook ends the container with exit status {exit}");
                    return Some(exit);
                }
            }
            Err(error) => log::warn!("{name}: what it leaves cannot be read: {error}"),
        }
        if let Some(signal) = stop_signal(&result) {
            log::info!("The {name} hook asks for a stop, by {signal}");
            around.stop.cancel();
        } else {
            report(name, result);
        }
        None
    }

    /// Values are whole at any moment, whoever panicked.
    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of a shell that ended by itself, and not by a signal.
fn exit_of(result: &Result<(), CommandError>) -> Option<Exit> {
    match result {
        Ok(()) => Some(0),
        Err(CommandError::Failed { status, .. }) => status.code()?.try_into().ok(),
        Err(_) => None,
    }
}

/// The signal that ended a shell, if it means a stop to the container. `kill $$` sent it to the
/// container's shell, and whoever kills that of a text by name did so, too; a stop of ours is told
/// apart. SIGKILL may have come for want of memory.
fn stop_signal(result: &Result<(), CommandError>) -> Option<Signal> {
    let Err(CommandError::Failed { status, .. }) = result else {
        return None;
    };
    let signal = Signal::try_from(status.signal()?).ok()?;
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT).then_some(signal)
}

/// Without names, as the values include the password: a kill leaves nothing of them.
struct Files {
    earlier: File,
    commands: File,
    variables: File,
}

impl Files {
    fn new(earlier_commands: &[u8]) -> io::Result<Self> {
        let file = || files::nameless(Path::new(paths::RUN));
        let mut earlier = file()?;
        earlier.write_all(earlier_commands)?;
        Ok(Self {
            earlier,
            commands: file()?,
            variables: file()?,
        })
    }

    fn script(&self, ours: &[&str]) -> String {
        let path = |file| files::path_for_children(file).display().to_string();
        include_str!("../../scripts/hook.bash")
            .replace("@EARLIER@", &path(&self.earlier))
            .replace("@LEFT@", &path(&self.commands))
            .replace("@VARIABLES@", &path(&self.variables))
            .replace("@OURS@", &ours.join(" "))
            .replace("@END@", END)
    }

    /// `None` where the text did not come to its end.
    fn read(mut self) -> io::Result<Option<Left>> {
        let mut left = Left::default();
        self.commands.read_to_end(&mut left.commands)?;
        if left.commands.is_empty() {
            return Ok(None);
        }
        if !left.commands.ends_with(format!("\n{END}\n").as_bytes()) {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it is cut short"));
        }
        let mut variables = Vec::new();
        self.variables.read_to_end(&mut variables)?;
        left.variables = assignments(&variables);
        Ok(Some(left))
    }
}

/// `NAME=value`, or a `NAME` that was taken away, each ended by a NUL byte; the last one holds.
fn assignments(bytes: &[u8]) -> Assignments {
    bytes
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let mut parts = entry.splitn(2, |byte| *byte == b'=');
            let mut part = || parts.next().map(|part| OsStr::from_bytes(part).to_owned());
            (part().unwrap_or_default(), part())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cancellation::CancellationToken;

    fn run(shell: &Shell, text: &str) -> Option<Exit> {
        run_until(&CancellationToken::new(), shell, text)
    }

    fn run_until(stop: &CancellationToken, shell: &Shell, text: &str) -> Option<Exit> {
        let given = [
            ("PATH", std::env::var_os("PATH")),
            ("LOC", Some("a".into())),
        ];
        let given = given.map(|(name, value)| (name.into(), value));
        let mut environment = BTreeMap::from(given);
        environment.extend(shell.variables());
        let environment: Vec<_> = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let around = Surroundings {
            environment: &environment,
            stop,
        };
        std::fs::create_dir_all(paths::WORKING_DIRECTORY).unwrap();
        shell.run("test", text, &["LOC", "MTU", "PASS"], &around)
    }

    fn after(text: &str) -> Shell {
        let shell = Shell::default();
        assert_eq!(run(&shell, text), None);
        shell
    }

    #[test]
    fn a_text_changes_our_variables_exported_or_not() {
        let shell = after("LOC=$(echo swiss); MTU=1300; export OTHER='two\nlines'");
        let text = |name| shell.text(name);
        assert_eq!(text("LOC").as_deref(), Some("swiss"));
        assert_eq!(text("MTU").as_deref(), Some("1300"));
        assert_eq!(text("OTHER").as_deref(), Some("two\nlines"));
        assert_eq!(text("PASS"), None);
        assert_eq!(text("__hook_text"), None);
    }

    #[test]
    fn a_text_can_unset_a_variable_for_good() {
        let shell = after("unset LOC");
        assert_eq!(shell.text("LOC").as_deref(), Some(""));
        assert_eq!(run(&shell, "[[ -v LOC ]] && exit 3"), None);
    }

    #[test]
    fn what_was_taken_away_stays_so_until_it_is_exported_again() {
        let shell = after("export OTHER=1");
        let other = || shell.variables().get(OsStr::new("OTHER")).cloned();
        for (text, expected) in [
            (":", Some(Some("1".into()))),
            ("unset OTHER", Some(None)),
            ("OTHER=2", Some(None)),
            ("[[ $OTHER == 2 ]] || exit 9", Some(None)),
            ("export OTHER=3", Some(Some("3".into()))),
        ] {
            assert_eq!(run(&shell, text), None, "{text}");
            assert_eq!(other(), expected, "{text}");
        }
    }

    #[test]
    fn an_exit_is_told_from_an_end_and_from_a_failure() {
        let exit = |text| run(&Shell::default(), text);
        assert_eq!(exit("exit 7"), Some(7));
        assert_eq!(exit("exit"), Some(0));
        assert_eq!(exit("set -e; false; true"), Some(1));
        for text in [
            "false",
            "(exit 3)",
            "return 3",
            "if",
            "set -e",
            "set -euC",
            "set -v",
            "kill -9 $$",
        ] {
            assert_eq!(exit(text), None, "{text}");
        }
        assert_eq!(exit("trap 'echo mine' EXIT"), None);
        assert_eq!(exit("trap 'echo mine' EXIT; exit 4"), Some(4));
    }

    /// Whether it was so when this process began, as of one that runs in a script's background: no
    /// shell that it starts can be ended by it.
    fn is_ignored(signal: Signal) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        mask >> (signal as i32 - 1) & 1 == 1
    }

    /// `$$` was the container's shell.
    #[test]
    fn a_stop_signal_that_a_text_sends_its_own_shell_asks_for_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let guard = format!("false || kill $$; touch {}", later.display());
        for (text, is_asked_for) in [
            (guard.as_str(), true),
            ("trap 'echo mine' EXIT; kill $$", true),
            ("trap 'kill $$' EXIT", true),
            ("(kill $$); sleep 1", true),
            ("kill -INT $$", !is_ignored(Signal::SIGINT)),
            ("kill -QUIT $$", !is_ignored(Signal::SIGQUIT)),
            ("kill -9 $$", false),
            ("kill -USR1 $$", false),
            ("(kill $BASHPID)", false),
            ("trap : TERM; kill $$", false),
            ("exit 143", false),
        ] {
            let stop = CancellationToken::new();
            let exit = run_until(&stop, &Shell::default(), text);
            assert_eq!(stop.is_cancelled(), is_asked_for, "{text}");
            assert_eq!(exit, (text == "exit 143").then_some(143), "{text}");
        }
        assert!(!later.exists());
    }

    #[test]
    fn what_a_text_leaves_is_there_in_the_next() {
        let shell = after(
            "x='1  2'; many=(a 'b c'); f() { echo $((x2 + 1)); }; umask 027; cd /tmp; \
             sleep 0 & pid=$!; readonly fixed=1; IFS=,; set -u; line=$'a\\nb'",
        );
        let check = "[[ $x == '1  2' && ${many[1]} == 'b c' && $(f) == 1 && $(umask) == 0027 \
                     && $PWD == /tmp && $pid -gt 1 && $fixed == 1 \
                     && $line == $'a\\nb' ]] || exit 9";
        assert_eq!(run(&shell, check), None);
        assert_eq!(run(&shell, check), None);
    }

    #[test]
    fn a_users_names_may_begin_as_ours_and_as_those_of_bash() {
        let shell = after(
            "VPN_SINCE=5; EPOCH_X=6; BASHFUL=7; BASH_OWN=8; COMP_Y=(9 9); __mine=10; VPN_PORT=1; \
             export VPN_KIND=fast __given=11",
        );
        let kept = "$VPN_SINCE$EPOCH_X$BASHFUL$BASH_OWN${COMP_Y[1]}$__mine$VPN_KIND$__given";
        let check = format!("[[ {kept} == 5678910fast11 && ! -v VPN_PORT ]] || exit 9");
        assert_eq!(run(&shell, &check), None);
        let exported = |name| shell.variables().get(OsStr::new(name)).cloned();
        assert_eq!(exported("VPN_KIND"), Some(Some("fast".into())));
        assert_eq!(exported("__given"), Some(Some("11".into())));
        assert_eq!(exported("VPN_PORT"), None);
    }

    /// What it says of the moment, or of itself, is not carried from one text to the next.
    #[test]
    fn what_bash_itself_makes_of_its_variables_is_left_to_it() {
        let shell = after("f() { :; }");
        let left = String::from_utf8(shell.left().commands.clone()).unwrap();
        for name in ["BASH", "EPOCH", "FUNC", "SHELLOPTS", "PPID", "LINENO", "__"] {
            let carried = left.lines().filter(|line| line.starts_with("declare "));
            let carried = carried.filter(|line| {
                let rest = line.splitn(3, ' ').nth(2).unwrap_or_default();
                rest.starts_with(name) && !rest.starts_with("BASH_LOADABLES_PATH=")
            });
            assert_eq!(carried.collect::<Vec<_>>(), [""; 0], "{name}");
        }
        assert_eq!(
            run(&shell, "(( EPOCHSECONDS > 1700000000 )) || exit 9"),
            None
        );
    }

    /// By a stop, or for want of memory.
    #[test]
    fn a_text_that_is_killed_while_it_leaves_things_spoils_nothing_earlier() {
        let shell = after("f() { :; }; x=1");
        let killed = r#"x=2; trap '[[ $BASH_COMMAND != "declare -f" ]] || kill -9 $$' DEBUG"#;
        assert_eq!(run(&shell, killed), None);
        assert_eq!(run(&shell, "[[ $x == 1 ]] && declare -F f || exit 9"), None);
    }
}
