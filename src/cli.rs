//! Arguments and call names.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use signal_hook::consts::SIGTERM;
use signal_hook::low_level::emulate_default_handler;

use crate::commands::getopts::{self, ScriptOptions};
use crate::commands::{
    self, auth, doctor, healthcheck, locations, pf_success, port, port_forward, reconnect, status,
    status_server, wg_gen,
};
use crate::lifecycle;
use crate::settings::Environment;
use crate::settings::variables;
use crate::system::cancellation::CancellationToken;
use crate::system::core_dumps;
use crate::system::heap;
use crate::system::log_output;
use crate::system::parallel;
use crate::system::signals;

/// Joins Private Internet Access over WireGuard and lends its network to other containers.
#[derive(Debug, Parser)]
#[command(name = "wireguard-pia", max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// Connect, and keep connected until stopped (the default).
#[derive(Debug, Default, clap::Args)]
struct RunArguments {
    /// Renew token and server list after so many seconds: for tests.
    #[arg(
        long,
        hide = true,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    renewal_interval: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(RunArguments),
    /// Say in one line whether all is well; exit status 0 or 1.
    Healthcheck,
    Status(status::Arguments),
    /// Close this network and hold it for VPN and clients, which join it (docs/anchor.md).
    Seal,
    #[command(hide = true)]
    StatusServer(status_server::Arguments),
    #[command(flatten)]
    ByHand(ByHand),
}

/// The verbs that a stop signal ends before they are done.
#[derive(Debug, Subcommand)]
enum ByHand {
    Doctor(doctor::Arguments),
    Locations(locations::Arguments),
    Auth(auth::Arguments),
    WgGen(wg_gen::Arguments),
    PortForward(port_forward::Arguments),
    Reconnect(reconnect::Arguments),
    Port(port::Arguments),
    #[command(hide = true)]
    PfSuccess(pf_success::Arguments),
}

/// What `--help` says about the environment, from the one table of variables.
fn variables_help() -> String {
    const NAME_WIDTH: usize = 28;
    const TEXT_WIDTH: usize = 80 - NAME_WIDTH;
    let mut text = String::from("Environment (all of it is in the README):\n");
    for variable in variables::ALL {
        let mut words = variable.summary();
        if let Some(default) = variable.default {
            words.push_str(&format!(" [default: {default}]"));
        }
        let mut column = format!("  {}", variable.name);
        for line in lines(&words, TEXT_WIDTH) {
            if column.len() >= NAME_WIDTH {
                text.push_str(&column);
                text.push('\n');
                column.clear();
            }
            text.push_str(&format!("{column:NAME_WIDTH$}{line}\n"));
            column.clear();
        }
    }
    text
}

/// The words in lines of at most `width` characters, where no word is longer than that.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The version, with what the image's build said of itself.
fn version(environment: &Environment) -> String {
    match environment.text("BUILDINFO") {
        Some(build) => format!("{} ({build})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The verb that a name under `/scripts` stands for.
fn verb_of(name: &OsString) -> Option<&'static str> {
    match Path::new(name).file_name()?.to_str()? {
        "run" => Some("run"),
        "healthcheck.sh" => Some("healthcheck"),
        "pia-auth.sh" => Some("auth"),
        "wg-gen.sh" => Some("wg-gen"),
        "pf.sh" => Some("port-forward"),
        "pf_success.sh" => Some("pf-success"),
        _ => None,
    }
}

/// The options that a verb took when it was a script.
fn script_options(verb: &OsStr) -> Option<&'static ScriptOptions> {
    match verb.to_str()? {
        "auth" => Some(&auth::OPTIONS),
        "wg-gen" => Some(&wg_gen::OPTIONS),
        "port-forward" => Some(&port_forward::OPTIONS),
        _ => None,
    }
}

/// The program's name, the verb and its words, in our own spelling.
fn words_of(mut words: Vec<OsString>) -> (Vec<OsString>, bool) {
    // A file under one of the names calls us with its name as the first word; in images derived
    // from earlier ones a link may be there.
    let (named, verb) = match (words.first().and_then(verb_of), words.get(1)) {
        (Some(verb), _) => (1, Some(verb)),
        (None, word) => (2, word.and_then(verb_of)),
    };
    if let Some(verb) = verb {
        // As usage lines are to show it.
        words.splice(..named, ["wireguard-pia".into(), verb.into()]);
    }
    let by_old_name = verb.is_some_and(|verb| verb != "run");
    if let Some(options) = words.get(1).and_then(|verb| script_options(verb)) {
        let given = words.split_off(2);
        match getopts::rewritten(&given, options) {
            Some((options, _)) if by_old_name => {
                let is_list = verb == Some("wg-gen") && options.iter().any(|word| word == "--list");
                words.extend(options);
                words.extend(is_list.then(|| "--list-objects".into()));
            }
            // By our own name a word too many is a mistake.
            Some((options, rest)) => words.extend(options.iter().chain(rest).cloned()),
            None => words.extend(given),
        }
    }
    (words, by_old_name)
}

/// The whole of the arguments, for the program itself and for what is generated from them.
pub fn command() -> clap::Command {
    Arguments::command().after_help(variables_help())
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    heap::share_among_threads();
    let environment = Environment::from_process();
    let (words, by_old_name) = words_of(std::env::args_os().collect());
    let parse = |command: clap::Command| {
        command
            .version(version(&environment))
            .try_get_matches_from(&words)
            .and_then(|matches| Arguments::from_arg_matches(&matches))
    };
    // The variables are for those who ask for help: to lay them out takes longer than all the rest.
    let parse = || parse(Arguments::command()).or_else(|_| parse(command()));
    let parsed = match words.get(1) {
        // It ends at once, and there is one every few seconds.
        Some(verb) if verb == "healthcheck" => parse(),
        // Pages of a stack that were touched once stay resident for as long as the thread lives.
        _ => parallel::aside(parse),
    };
    match parsed {
        Ok(arguments) => act(
            arguments
                .verb
                .unwrap_or_else(|| Verb::Run(RunArguments::default())),
            environment,
        ),
        Err(error) => refuse(&error, by_old_name.then(|| words.get(1)).flatten()),
    }
}

fn act(verb: Verb, environment: Environment) -> ExitCode {
    // What a command prints for other programs goes to standard output alone; the long-running ones
    // have no such thing.
    let target = match verb {
        Verb::Run(_) | Verb::Seal | Verb::ByHand(ByHand::PortForward(_) | ByHand::PfSuccess(_)) => {
            env_logger::Target::Stdout
        }
        _ => env_logger::Target::Stderr,
    };
    let debug = environment.text("DEBUG").is_some();
    log_output::init(environment.text("RUST_LOG"), debug, target);
    if let Err(error) = core_dumps::forbid() {
        log::debug!("core dumps cannot be forbidden: {error}");
    }
    match verb {
        Verb::Run(arguments) => {
            let version = version(&environment);
            let renewal_interval = arguments.renewal_interval.map(Duration::from_secs);
            lifecycle::run(environment, &version, renewal_interval)
        }
        Verb::Seal => {
            let version = version(&environment);
            lifecycle::anchor::seal(environment, &version)
        }
        Verb::Healthcheck => healthcheck::run(&environment),
        Verb::Status(arguments) => status::run(&arguments),
        Verb::StatusServer(arguments) => status_server::run(&arguments),
        Verb::ByHand(verb) => act_by_hand(&verb, &environment),
    }
}

fn act_by_hand(verb: &ByHand, environment: &Environment) -> ExitCode {
    let stop = match stop_by_signal() {
        Ok(stop) => stop,
        Err(error) => {
            log::error!("signals cannot be handled: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match verb {
        ByHand::Doctor(arguments) => return doctor::run(arguments, environment, &stop),
        ByHand::Locations(arguments) => locations::run(arguments, environment, &stop),
        ByHand::Auth(arguments) => auth::run(arguments, environment, &stop),
        ByHand::WgGen(arguments) => wg_gen::run(arguments, environment, &stop),
        ByHand::PortForward(arguments) => port_forward::run(arguments, environment, &stop),
        ByHand::Reconnect(arguments) => reconnect::run(arguments, &stop),
        ByHand::Port(arguments) => port::run(arguments, &stop),
        ByHand::PfSuccess(arguments) => pf_success::run(arguments, environment, &stop),
    };
    commands::exit_code(outcome)
}

/// As the first process of a container nothing else ends us; what does not obey the request, such
/// as a read from the terminal, is ended the usual way.
fn stop_by_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let end = || {
        std::thread::sleep(Duration::from_millis(800));
        // Where that is not possible there is nothing else to be done.
        let _ = emulate_default_handler(SIGTERM);
    };
    signals::watch(&stop, end, || ())?;
    Ok(stop)
}

/// Wrong arguments end with status 1: clap's own 2 means a refused login to those who call
/// `wg-gen`.
fn refuse(error: &clap::Error, old_name_for: Option<&OsString>) -> ExitCode {
    // The help that was asked for, or what is wrong; that it cannot be printed changes nothing.
    let _ = error.print();
    let lacks_all = error.kind() == ErrorKind::MissingRequiredArgument;
    // The scripts took a call without their options for a request for help.
    let is_help =
        lacks_all && old_name_for.is_some_and(|verb| verb == "wg-gen" || verb == "port-forward");
    if is_help || error.exit_code() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let (words, _) = words_of(line.split(' ').map(OsString::from).collect());
        words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn old_names_stand_for_verbs_and_ignore_what_the_scripts_ignored() {
        assert_eq!(
            words("/scripts/wg-gen.sh -t file -lswiss more"),
            [
                "wireguard-pia",
                "wg-gen",
                "--token-file=file",
                "--location=swiss"
            ]
        );
        assert_eq!(words("/scripts/run"), ["wireguard-pia", "run"]);
        assert_eq!(
            words("/usr/local/bin/wireguard-pia pf.sh -tfile"),
            ["wireguard-pia", "port-forward", "--token-file=file"]
        );
        assert_eq!(
            words("pf_success.sh 47047"),
            ["wireguard-pia", "pf-success", "47047"]
        );
    }

    /// As getopts reads them.
    #[test]
    fn of_an_option_given_twice_the_last_value_counts() {
        for line in [
            "pia-auth.sh -c first -c last -u x -p x",
            "wg-gen.sh -a -l first -a -l last",
            "pf.sh -t first -t last",
        ] {
            let matches = command().try_get_matches_from(words(line)).expect(line);
            let given = format!("{:?}", Arguments::from_arg_matches(&matches).expect(line));
            assert!(
                given.contains("last") && !given.contains("first"),
                "{given}"
            );
        }
    }

    /// As scripts give them for variables that are not set.
    #[test]
    fn an_option_given_empty_is_not_given() {
        for (line, without) in [
            ("pf.sh -t f -i  -n  -r  -p ", "pf.sh -t f"),
            (
                "pia-auth.sh -u u -p p -n  -i  -o 443",
                "pia-auth.sh -u u -p p -o 443",
            ),
            ("wg-gen.sh -t f -o o -d  -m  -l ", "wg-gen.sh -t f -o o"),
            ("x wg-gen -t f -o o -d 1.1.1.1 -d ", "x wg-gen -t f -o o"),
        ] {
            let given = |line| {
                let matches = command().try_get_matches_from(words(line)).expect(line);
                format!("{:?}", Arguments::from_arg_matches(&matches).expect(line))
            };
            assert_eq!(given(line), given(without), "{line}");
        }
    }

    #[test]
    fn by_our_own_name_a_word_too_many_stays_to_be_refused() {
        assert_eq!(words("x wg-gen -a more"), ["x", "wg-gen", "--list", "more"]);
        assert_eq!(
            words("x wg-gen --location swiss"),
            ["x", "wg-gen", "--location", "swiss"]
        );
    }
}
