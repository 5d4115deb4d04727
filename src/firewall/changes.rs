//! Changes whose outcome is known before the program that makes them has ended, and of which one
//! program makes several.
//!
//! Where rules or chains were replaced, closing the program's socket waits until the kernel is rid
//! of the former ones, ten to twenty milliseconds (`nft_rcv_nl_event` in the kernel's
//! nf_tables_api.c). The new ones are in force before that, and the kernel says so.
//!
//! Most of the processor time that a small change takes is the start of the program. Those of a
//! start or a reconnect follow each other, so iptables-restore is kept for a while, and given the
//! next one: it puts each table in force when it has read its `COMMIT`.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::Builder;
use std::time::Duration;

use crate::system::command::{Command, CommandError};
use crate::system::fed_program::FedProgram;
use crate::system::nf_tables::CommitListener;

/// How long a program is kept after a change.
const KEPT: Duration = Duration::from_secs(1);
/// How long a program that is kept may take for a change. Then it is one that does nothing before
/// its input has ended, as iptables 1.8.4 does, or the machine is slow: its end tells.
const PATIENCE: Duration = Duration::from_millis(250);

/// What changes tables of nf_tables.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub command: Command,
    /// What the program reads.
    pub text: String,
    /// The names of all tables that it changes.
    pub tables: Vec<String>,
    /// Whether the program puts in force what it has read before its input ends, so that it can be
    /// given the next change.
    pub is_kept: bool,
}

/// Who makes changes, one after the other, all by the same program.
#[derive(Debug, Default)]
pub(super) struct Changer {
    worker: Option<Sender<Order>>,
}

/// A change that is being made.
#[derive(Debug)]
pub(super) struct Begun {
    change: Change,
    told: Receiver<Result<(), CommandError>>,
}

/// A change, and whom to tell what came of it.
type Order = (Change, Sender<Result<(), CommandError>>);

impl Changer {
    /// Has a thread make this change, after those before it. Even a stop does not interrupt it.
    pub fn begin(&mut self, change: Change) -> Begun {
        let (outcome, told) = mpsc::channel();
        let order = (change.clone(), outcome);
        let refused = match &self.worker {
            Some(worker) => worker.send(order).err().map(|refused| refused.0),
            None => Some(order),
        };
        if let Some(order) = refused {
            self.worker = Some(employ(order));
        }
        Begun { change, told }
    }
}

impl Begun {
    /// What came of it, as soon as that is known.
    pub fn outcome(self) -> Result<(), CommandError> {
        if let Ok(outcome) = self.told.recv() {
            return outcome;
        }
        // The thread ended in the moment in which it was asked.
        let (outcome, told) = mpsc::channel();
        drop(employ((self.change.clone(), outcome)));
        told.recv().unwrap_or_else(|_| {
            let gone = io::Error::other("the thread that ran it is gone");
            Err(self.change.command.not_run(gone))
        })
    }
}

/// A thread that makes this change, and others for as long as they come soon.
fn employ(order: Order) -> Sender<Order> {
    let (worker, orders) = mpsc::channel();
    let first = order.clone();
    let work = move || make_all(first, &orders);
    if let Err(error) = Builder::new().name("load".to_owned()).spawn(work) {
        log::debug!("no further thread: {error}");
        // Nobody has another change for it.
        let (_, none) = mpsc::channel();
        make_all(order, &none);
    }
    worker
}

fn make_all(first: Order, orders: &Receiver<Order>) {
    let mut kept = None;
    let mut next = Some(first);
    while let Some((change, outcome)) = next {
        // Whoever waits for the outcome takes it.
        let report = |result| drop(outcome.send(result));
        kept = make(kept.take(), &change, report);
        next = orders.recv_timeout(KEPT).ok();
    }
    if let Some(program) = kept {
        end(program);
    }
}

/// A program, and what it changes.
struct Loader {
    program: FedProgram,
    commits: io::Result<CommitListener>,
}

impl Loader {
    fn start(command: &Command) -> Result<Self, CommandError> {
        // Before it can change anything.
        let commits = CommitListener::listen();
        if let Err(error) = &commits {
            log::debug!("commits of nf_tables are not told: {error}");
        }
        let program = FedProgram::start(command)?;
        Ok(Self { program, commits })
    }

    /// Whether the kernel says that it has made this change.
    fn is_heard_to_make(&mut self, change: &Change) -> bool {
        let (Ok(()), Ok(commits)) = (self.program.feed(&change.text), &self.commits) else {
            return false;
        };
        let patience = match change.is_kept {
            true => PATIENCE,
            false => {
                self.program.close_input();
                Duration::MAX
            }
        };
        let ended = self.program.ended();
        let pid = self.program.pid();
        pid.is_some_and(|pid| commits.hear(pid, &change.tables, ended, patience))
    }
}

/// Makes a change by the program that was kept, or by a new one, and reports what came of it. Gives
/// the program back where it can make another one.
fn make(
    kept: Option<Loader>,
    change: &Change,
    report: impl Fn(Result<(), CommandError>),
) -> Option<Loader> {
    let mut loader = match kept.map_or_else(|| Loader::start(&change.command), Ok) {
        Ok(loader) => loader,
        Err(error) => {
            report(Err(error));
            return None;
        }
    };
    if !loader.is_heard_to_make(change) {
        report(loader.program.finish());
        return None;
    }
    report(Ok(()));
    if loader.program.is_open() {
        return Some(loader);
    }
    end(loader);
    None
}

fn end(loader: Loader) {
    if let Err(error) = loader.program.finish() {
        log::debug!("after it had done its work: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(program: &str) -> Change {
        Change {
            command: Command::new("bash", ["-c", program]),
            text: "text\n".to_owned(),
            tables: vec!["filter".to_owned()],
            is_kept: true,
        }
    }

    #[test]
    fn the_end_of_a_program_tells_where_the_kernel_does_not() {
        let outcome = |program| Changer::default().begin(change(program)).outcome();
        assert!(outcome("[[ $(cat) == text ]]").is_ok());
        let error = outcome("read -r; echo no >&2; exit 2").unwrap_err();
        assert_eq!(error.to_string(), "bash: exit status 2: no");
    }

    #[test]
    fn who_ends_in_the_moment_in_which_it_is_asked_loses_nothing() {
        let (outcome, told) = mpsc::channel();
        drop(outcome);
        let lost = |program| Begun {
            change: change(program),
            told,
        };
        assert!(lost("[[ $(cat) == text ]]").outcome().is_ok());
        let mut changer = Changer::default();
        for _ in 0..3 {
            // Each has ended by the next one.
            changer.worker = Some(mpsc::channel().0);
            assert!(changer.begin(change("exit 2")).outcome().is_err());
        }
    }
}
