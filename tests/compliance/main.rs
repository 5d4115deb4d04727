//! What users of `thrnz/docker-wireguard-pia` rely on, case by case, on ours and on the original.
//!
//! A case is one thing seen from outside at one moment of a life; a life is an environment, files,
//! and what happens. On the original (`scripts/test compliance --original DIR`) each case either
//! agrees, or names the sentence of docs/original-behaviour.md by which ours differs. Whatever is
//! neither fails.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a case fails"
)]
#![allow(clippy::too_many_lines, reason = "a life is a table")]

mod life;
mod lives;
mod report;
mod see;
mod subject;

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use life::Life;
use report::Report;
use subject::Subject;

/// The page whose sentences the cases name.
const DECISIONS: &str = include_str!("../../docs/original-behaviour.md");

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(*part));
    let mut lives = lives::all();
    lives.retain(|life| life.names().iter().any(|name| wanted(name)));
    if words.iter().any(|word| word == "--list") {
        let names = lives.iter().flat_map(Life::names);
        names
            .filter(|name| wanted(name))
            .for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let subject = Subject::from_environment();
    let mut wrong = unknown_decisions(&lives);
    if filters.is_empty() {
        wrong.extend(unknown_cases(&lives));
    }
    for complaint in &wrong {
        eprintln!("docs/original-behaviour.md {complaint}");
    }
    // What is run under a lock is over at once; the panics of cases are their verdicts.
    std::panic::set_hook(Box::new(|_| ()));
    lives.reverse();
    let lives = Mutex::new(lives);
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while let Some(life) = next(&lives) {
                    let told = life.run(&subject);
                    let mut report = report.lock().expect("nobody panics with it");
                    for (name, verdict) in told.verdicts {
                        if wanted(&name) {
                            report.note(&name, &verdict);
                        }
                    }
                    if let Some(log) = told.log {
                        Report::log(life.name(), &log);
                    }
                }
            });
        }
    });
    let report = report.into_inner().expect("nobody panics with it");
    report.summary(&subject);
    if report.failed() || !wrong.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn next(lives: &Mutex<Vec<Life>>) -> Option<Life> {
    lives.lock().expect("nobody panics with it").pop()
}

/// Lives wait rather than compute.
fn threads() -> usize {
    let wished = std::env::var("RUST_TEST_THREADS").ok();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(4 * processors)
}

/// Sentences that cases name and that do not stand in the page.
fn unknown_decisions(lives: &[Life]) -> Vec<String> {
    let page = DECISIONS.split_whitespace().collect::<Vec<_>>().join(" ");
    let quotes = lives.iter().flat_map(Life::decisions);
    let unknown = quotes.filter(|quote| !page.contains(quote));
    unknown
        .map(|quote| format!("does not say: {quote}"))
        .collect()
}

/// Cases that the page names and that are none.
fn unknown_cases(lives: &[Life]) -> Vec<String> {
    let names: Vec<String> = lives.iter().flat_map(Life::names).collect();
    let quoted = DECISIONS.split('`').skip(1).step_by(2);
    let cases = quoted.filter(|word| word.contains("::") && !word.starts_with("::"));
    let unknown = cases.filter(|case| !names.iter().any(|name| name == case));
    unknown
        .map(|case| format!("names no case: {case}"))
        .collect()
}
