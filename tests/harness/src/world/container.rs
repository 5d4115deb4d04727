//! The container that holds the program, as Docker would give it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;

use super::journal::{Journal, Line};
use super::process::Process;
use super::recipe::{EXECUTED, PATH, Recipe, set};
use crate::waiting::{SOON, wait_until};

/// What remains to be done in the new PID namespace. `$0` is the working directory.
const INIT: &str = r#"set -e
mount -n -t proc proc /proc
mount -n -o bind /proc/sys /proc/sys
mount -n -o remount,bind,ro /proc/sys
cd "$0"
exec "$@""#;

/// Holds a PID namespace open and reaps what dies in it, as a pod's pause container does.
const PAUSE: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";

/// A container that has not stopped by then is killed. Docker waits for 10 s only; how fast the
/// program stops is for the tests of timing to say.
const STOP_TIMEOUT: Duration = SOON;
/// For the last lines, which background children of hooks may hold back for ever.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// A container; dropping it ends all that runs in it.
#[derive(Debug)]
pub struct Container {
    journal: Journal,
    program: Option<Process>,
    pause: Option<Process>,
    recipe: Recipe,
    made: Instant,
}

impl Container {
    pub(super) fn new(recipe: Recipe) -> Self {
        Self {
            journal: Journal::default(),
            program: None,
            pause: None,
            recipe,
            made: Instant::now(),
        }
    }
}

/// What runs words once its thread has joined the container.
fn beside(words: &[OsString]) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = r#"cd "$0" && exec "$@""#;
    command
        .args(["-c", script, "/scripts"])
        .args(words)
        .env_clear()
        .env("PATH", PATH);
    command
}

/// How a stop went.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    pub took: Duration,
    pub status: ExitStatus,
}

impl Container {
    /// Starts the program: the first time, or again after it has ended.
    #[track_caller]
    pub fn start(&mut self) {
        let over = self
            .program
            .as_ref()
            .is_none_or(|program| program.status().is_some());
        assert!(over, "the program still runs");
        self.journal.begin();
        let words = self.recipe.contained(&self.recipe.words);
        let started = if self.recipe.shared_pids {
            if self.pause.is_none() {
                let pause = self.recipe.contained(&["bash", "-c", PAUSE]);
                let pause = self.spawn_init(&pause, &Journal::default());
                self.pause = Some(pause.expect("a container can be started"));
                self.wait_for_proc();
            }
            self.spawn_beside(&words, &self.journal)
        } else {
            self.spawn_init(&words, &self.journal)
        };
        match started {
            Ok(program) => self.program = Some(program),
            Err(error) => panic!("cannot start the container: {error}"),
        }
    }

    /// Starts again after the end: same network, same files, same volumes.
    #[track_caller]
    pub fn restart(&mut self) {
        self.start();
    }

    /// Changes the environment of the next life.
    pub fn set_env(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        set(&mut self.recipe.environment, name.into(), value.into());
    }

    /// Runs words as the first process of new namespaces.
    fn spawn_init(&self, words: &[OsString], journal: &Journal) -> io::Result<Process> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", INIT, "/scripts"])
            .args(words)
            .env_clear()
            .env("PATH", PATH);
        let network = Arc::clone(&self.recipe.network);
        let rootfs = self.recipe.rootfs.clone();
        let prepare = move || {
            network.enter()?;
            unshare(
                CloneFlags::CLONE_NEWNS
                    | CloneFlags::CLONE_NEWPID
                    | CloneFlags::CLONE_NEWUTS
                    | CloneFlags::CLONE_NEWIPC,
            )?;
            rootfs.enter()
        };
        Process::start(prepare, command, journal)
    }

    /// Runs words in the namespaces that the container has.
    fn spawn_beside(&self, words: &[OsString], journal: &Journal) -> io::Result<Process> {
        Process::start(self.joining()?, beside(words), journal)
    }

    /// What a thread does to join the container.
    fn joining(&self) -> io::Result<impl FnOnce() -> io::Result<()> + Send + use<>> {
        let first = self
            .first()
            .ok_or_else(|| io::Error::other("the container does not run"))?;
        let own = PathBuf::from(format!("/proc/{}/ns", first.pid()));
        let mut files = Vec::new();
        for (name, kind) in [
            ("pid", CloneFlags::CLONE_NEWPID),
            ("net", CloneFlags::CLONE_NEWNET),
            ("uts", CloneFlags::CLONE_NEWUTS),
            ("ipc", CloneFlags::CLONE_NEWIPC),
            ("mnt", CloneFlags::CLONE_NEWNS),
        ] {
            files.push((File::open(own.join(name))?, kind));
        }
        Ok(move || {
            // A thread that shares its working directory cannot change its mount namespace.
            unshare(CloneFlags::CLONE_FS)?;
            for (file, kind) in files {
                setns(file, kind)?;
            }
            Ok(())
        })
    }

    fn first(&self) -> Option<&Process> {
        self.pause.as_ref().or(self.program.as_ref())
    }

    /// Blocks until the pause process has mounted `/proc`: what joins before would not have it.
    fn wait_for_proc(&self) {
        let pid = self.first().map_or(0, Process::pid);
        let ready = || {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "bash")
        };
        wait_until("the pod's first process", SOON, ready);
    }

    /// `docker exec`: runs words in the container and waits for them.
    #[track_caller]
    pub fn exec<S: AsRef<OsStr>>(&self, words: &[S]) -> Output {
        let mut command = beside(&self.recipe.contained(words));
        let result = self.joining().and_then(|join| {
            let inside = thread::spawn(move || join().and_then(|()| command.output()));
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        result.unwrap_or_else(|error| panic!("cannot run anything in the container: {error}"))
    }

    /// `docker exec`, for its output alone.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let output = self.exec(&["bash", "-c", script]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Stops all processes of this name as a debugger does, and waits until they stand still, which
    /// on a busy machine is not at once.
    #[track_caller]
    pub fn halt(&self, program: &str) {
        self.shell(&format!("kill -STOP $(pidof {program})"));
        let running =
            format!("grep -L '^State:.T' $(printf '/proc/%s/task/*/status ' $(pidof {program}))");
        wait_until("everybody stands still", SOON, || {
            self.shell(&running).is_empty()
        });
    }

    /// Blocks until the present life has logged this text, and fails the test if it does not.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str, timeout: Duration) -> Line {
        let found = self.journal.wait_for(timeout, |line| line.contains(text));
        found.unwrap_or_else(|| panic!("{text:?} was not logged within {timeout:?}"))
    }

    /// What the present life has printed; all of it, if it is over.
    pub fn logs(&self) -> String {
        self.wait_for_last_lines();
        self.journal.text()
    }

    /// What all lives have printed, with times; all of it, if the present one is over.
    pub fn lines(&self) -> Vec<Line> {
        self.wait_for_last_lines();
        self.journal.lines()
    }

    fn wait_for_last_lines(&self) {
        let is_over = |program: &Process| program.status().is_some();
        if self.program.as_ref().is_some_and(is_over) {
            self.journal.wait_for_end(LAST_LINES_TIMEOUT);
        }
    }

    /// When the present life began.
    #[track_caller]
    pub fn started(&self) -> Instant {
        self.program().started()
    }

    /// When the words were executed that [`Recipe::saying_when_executed`] wraps.
    #[track_caller]
    pub fn executed(&self) -> Instant {
        let line = self.wait_for_log(EXECUTED, SOON).text;
        let time: f64 = line
            .trim_start_matches(EXECUTED)
            .parse()
            .expect("bash says the time in seconds");
        let since = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs_f64(time));
        Instant::now() - since.expect("time goes on")
    }

    /// Changes the limits of the container's control groups: `docker update`.
    #[track_caller]
    pub fn update_limits(&self, limit: &str) {
        for cgroup in &self.recipe.cgroups {
            cgroup.set(limit).expect("a limit can be changed");
        }
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.program().signal(signal);
    }

    /// `docker stop`: SIGTERM, and SIGKILL if that does not help.
    #[track_caller]
    pub fn stop(&self) -> Stopped {
        self.stop_by(Signal::SIGTERM)
    }

    /// The same by another signal.
    #[track_caller]
    pub fn stop_by(&self, signal: Signal) -> Stopped {
        let begun = Instant::now();
        let program = self.program();
        program.signal(signal);
        let status = program.wait(STOP_TIMEOUT).unwrap_or_else(|| {
            program.signal(Signal::SIGKILL);
            program
                .wait(STOP_TIMEOUT)
                .expect("nothing survives SIGKILL")
        });
        let ended = program.ended().unwrap_or(begun);
        Stopped {
            took: ended.saturating_duration_since(begun),
            status,
        }
    }

    /// SIGKILL to the program. It is its PID namespace's first process, so everything in there
    /// goes with it, unless the namespace is shared.
    #[track_caller]
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.program().wait(STOP_TIMEOUT);
    }

    /// SIGKILL to everything in the container.
    pub fn kill_all(&mut self) {
        self.pause = None;
        self.kill();
    }

    /// How the program ended, if it has.
    #[track_caller]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.program().status()
    }

    /// Blocks until the program ends by itself, and fails the test if it does not.
    #[track_caller]
    pub fn wait(&self, timeout: Duration) -> ExitStatus {
        let status = self.program().wait(timeout);
        status.unwrap_or_else(|| panic!("the program did not end within {timeout:?}"))
    }

    /// The process id of the program, as the machine sees it.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.program().pid()
    }

    /// Where the machine keeps a file that the container made or changed.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        if path.as_ref() == Path::new("/etc/resolv.conf") {
            return self.recipe.rootfs.directory.join("resolv.conf");
        }
        self.recipe.rootfs.layered(path.as_ref())
    }

    /// The text of a file that the container made or changed.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    #[track_caller]
    fn program(&self) -> &Process {
        self.program.as_ref().expect("the container was started")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- the container's log ----");
            for line in self.journal.lines() {
                let at = line.at.saturating_duration_since(self.made).as_secs_f32();
                eprintln!("{at:8.3} {}", line.text);
            }
            eprintln!("---- end of the container's log ----");
        }
    }
}
