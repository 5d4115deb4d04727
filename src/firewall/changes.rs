//! Changes whose outcome is known before the program that makes them has ended.
//!
//! Where rules or chains were replaced, closing the program's socket waits until the kernel is rid
//! of the former ones, ten to twenty milliseconds (`nft_rcv_nl_event` in the kernel's
//! nf_tables_api.c). The new ones are in force before that, and the kernel says so.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::Builder;

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::nf_tables::CommitListener;

/// A program that changes tables of nf_tables.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub command: Command,
    /// The names of all that it changes.
    pub tables: Vec<String>,
}

impl Change {
    /// Runs the program to its end. Even a stop does not interrupt it.
    fn make(&self, outcome: &Sender<Result<(), CommandError>>) {
        // Whoever waits for the outcome takes it.
        let report = |result| drop(outcome.send(result));
        match CommitListener::listen() {
            Ok(commits) => self
                .command
                .run_reporting(|pid, ended| commits.hear(pid, &self.tables, ended), report),
            Err(error) => {
                log::debug!("commits of nf_tables are not told: {error}");
                report(self.command.run(&CancellationToken::never()).map(drop));
            }
        }
    }
}

/// Makes all of them at the same time; their outcomes in this order, as soon as they are known. The
/// programs are waited for by threads of their own.
pub(super) fn make(changes: Vec<Change>) -> Vec<Result<(), CommandError>> {
    let mut outcomes = Vec::new();
    for change in changes {
        let (outcome, told) = mpsc::channel();
        let (other, other_outcome) = (change.clone(), outcome.clone());
        if let Err(error) = Builder::new()
            .name("load".to_owned())
            .spawn(move || other.make(&other_outcome))
        {
            log::debug!("no further thread: {error}");
            change.make(&outcome);
        }
        outcomes.push((change.command, told));
    }
    let mut results = Vec::new();
    for (command, told) in outcomes {
        let result = told.recv();
        results.push(result.unwrap_or_else(|_| {
            Err(command.not_run(io::Error::other("the thread that ran it is gone")))
        }));
    }
    results
}
