//! A child process whose end can be awaited and which ends with us.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::journal::Journal;
use crate::waiting::SOON;

/// How and when a process ended, and a bell for it.
type End = (Mutex<Option<(ExitStatus, Instant)>>, Condvar);

/// A process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    started: Instant,
    end: Arc<End>,
}

impl Process {
    /// Starts a command from a thread of its own, which `prepare` may move to other namespaces.
    /// That thread stays until the process ends, so a "parent death signal" works.
    pub fn start(
        prepare: impl FnOnce() -> io::Result<()> + Send + 'static,
        mut command: Command,
        journal: &Journal,
    ) -> io::Result<Self> {
        let end = Arc::new((Mutex::new(None), Condvar::new()));
        let bell = Arc::clone(&end);
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            command
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = match prepare().and_then(|()| command.spawn()) {
                Ok(child) => child,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            // The journal's threads must not start from here: they would share our namespaces,
            // and a thread cannot be made where children go to another PID namespace.
            let streams = (child.stdout.take(), child.stderr.take());
            let _ = tell.send(Ok((pid_of(&child), streams)));
            let _ = wait(&mut child, &bell);
            bell.1.notify_all();
        });
        let (pid, (stdout, stderr)) = told.recv().map_err(io::Error::other)??;
        journal.follow(stdout.expect("stdout is piped"), false);
        journal.follow(stderr.expect("stderr is piped"), true);
        Ok(Self {
            pid,
            started: Instant::now(),
            end,
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        let status = self.lock();
        if status.is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        self.lock().map(|(status, _)| status)
    }

    /// When it ended, if it has.
    pub fn ended(&self) -> Option<Instant> {
        self.lock().map(|(_, at)| at)
    }

    /// Blocks until it ends; `None` when that took too long.
    pub fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let waited = self
            .end
            .1
            .wait_timeout_while(self.lock(), timeout, |end| end.is_none());
        waited
            .expect("no holder of this lock panics")
            .0
            .map(|(status, _)| status)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(ExitStatus, Instant)>> {
        self.end.0.lock().expect("no holder of this lock panics")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait(SOON);
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process ids are positive integers"))
}

/// Waits for the end and notes it, so that nobody signals a process id that is no longer ours.
fn wait(child: &mut Child, end: &End) -> io::Result<()> {
    waitid(
        Id::Pid(pid_of(child)),
        WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
    )?;
    let at = Instant::now();
    let mut noted = end.0.lock().expect("no holder of this lock panics");
    *noted = Some((child.wait()?, at));
    Ok(())
}
