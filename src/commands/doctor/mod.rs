//! `doctor`: checks everything that a start needs, in the order in which a start needs it, and says
//! the cure.
//!
//! Each check gathers facts and has a pure judgement of them. Nothing is changed that flows: rules
//! and interfaces are tried where nothing leads to them, and taken away again.

mod api;
mod files;
mod finding;
mod host;
mod lan;
pub(super) mod leaks;
mod mtu;
mod network;
mod report;
mod subject;
mod tunnel;

use std::process::ExitCode;

use self::finding::{Finding, Level};
use self::report::FindingsReport;
use self::subject::Subject;
use crate::pia::regions::ServerList;
use crate::settings::{Environment, ServerChoice};
use crate::system::cancellation::CancellationToken;

/// Check everything that a start needs, and say the cure of what is wrong.
///
/// Run it where the container runs: `docker exec NAME wireguard-pia doctor`, or, where that
/// container is blocked, in a fresh one with the same options. Secrets are masked, so that the
/// output can be shown to others. Exit status 1 if there is a failure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Log in to PIA too, once; too many attempts with a wrong password lock an account for
    /// minutes.
    #[arg(long)]
    login: bool,
}

/// Checks, shows what was found, and ends with 1 if there is a failure.
pub fn run(arguments: &Arguments, environment: &Environment, stop: &CancellationToken) -> ExitCode {
    let subject = Subject::new(environment, leaks::is_blocked(), stop);
    let mut report = FindingsReport::new(arguments.json, environment, subject.secrets());
    let mut add = |finding: Finding| {
        // What is cut short says nothing about the subject.
        if !stop.is_cancelled() {
            report.add(finding);
        }
    };
    settings(&subject).into_iter().for_each(&mut add);
    host::check(&subject, &mut add);
    network::check(&subject, &mut add);
    files::check_pia(&subject, &mut add);
    let list: Option<ServerList> = api::check(&subject, arguments.login, &mut add);
    files::check_account(&subject, &mut add);
    files::check_volumes(&subject, &mut add);
    lan::check(&subject, &mut add);
    mtu::check(&subject, list.as_ref(), &mut add);
    tunnel::check(&subject, &mut add);
    if stop.is_cancelled() {
        return ExitCode::FAILURE;
    }
    if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Values that were not taken as they are.
fn settings(subject: &Subject) -> Vec<Finding> {
    const CHECK: &str = "settings";
    let mut findings: Vec<Finding> = subject
        .warnings
        .iter()
        .map(|warning| {
            Finding::warning(
                CHECK,
                warning.to_string(),
                format!("correct or unset {}", warning.variable),
            )
        })
        .collect();
    if subject.destination == ServerChoice::Unset {
        let mut finding = subject.unless_assigned(Finding::failure(
            CHECK,
            "LOC is empty, so the container would print the locations and end",
            "set LOC to an id that `wireguard-pia locations` lists, or to auto",
        ));
        if subject.is_connected {
            // The program has another environment than whoever asks, or a choice that is forgotten.
            finding.level = finding.level.min(Level::Warning);
        }
        findings.push(finding);
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "every value makes sense"));
    }
    findings
}
