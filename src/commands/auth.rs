//! `auth`: an account token on standard output.

use std::io::{self, BufRead};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::api_client::ApiClient;
use super::getopts::ScriptOptions;
use super::output::print;
use super::{pia_files, token_file};
use crate::connect::api_hosts::Service;
use crate::connect::credentials;
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::account;
use crate::pia::credentials::Credentials;
use crate::settings::{CredentialSources, Environment, Meta, Settings};
use crate::system::cancellation::CancellationToken;
use crate::system::paths;
use crate::system::secret::Secret;
use crate::underlay::socket::Via;

/// As `pia-auth.sh` took them.
pub const OPTIONS: ScriptOptions = ScriptOptions {
    with_value: &[
        (b'u', "user"),
        (b'p', "password"),
        (b'i', "meta-ip"),
        (b'o', "meta-port"),
        (b'n', "meta-cn"),
        (b'c', "ca"),
    ],
    switches: &[],
};

/// Log in and print an account token, as pia-auth.sh did.
///
/// A password in the arguments is seen by everybody on the machine: better give it by
/// --password-stdin, by a file, or in the environment (PASS, PASS_FILE).
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub struct Arguments {
    /// User name (else USER_FILE, or USER if a password is in the environment too).
    #[arg(short, long, allow_hyphen_values = true)]
    user: Option<Secret>,
    /// Password (else PASS_FILE or PASS).
    #[arg(
        short,
        long,
        allow_hyphen_values = true,
        conflicts_with_all = ["password_file", "password_stdin"]
    )]
    password: Option<Secret>,
    /// File with the user name.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    user_file: Option<PathBuf>,
    /// File with the password.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// Address of a meta server to ask instead of PIA's web site (else META_IP).
    #[arg(short = 'i', long, value_name = "ADDRESS", requires = "meta_cn")]
    meta_ip: Option<Ipv4Addr>,
    /// Port of the meta server [default: META_PORT, or 443].
    #[arg(
        short = 'o',
        long,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    meta_port: Option<u16>,
    /// Common name of the meta server (else META_CN).
    #[arg(short = 'n', long, value_name = "NAME", requires = "meta_ip")]
    meta_cn: Option<String>,
    /// PIA's certificate authority, for a meta server only (else PIA_CA_FILE, or the usual places).
    #[arg(short, long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// End the token in this file instead (default: /pia/.token), so that it is no good any more.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = paths::TOKEN
    )]
    revoke: Option<PathBuf>,
}

/// Logs in, or revokes a token.
///
/// # Errors
/// When the credentials are missing or refused, or PIA cannot be reached.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    // pia-auth.sh has one status for all that can go wrong.
    let as_the_script = |failure: Failure| failure.with_kind(FailureKind::Local);
    log_in_or_revoke(arguments, environment, stop).map_err(as_the_script)
}

fn log_in_or_revoke(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let client = client(arguments, environment)?;
    if let Some(file) = &arguments.revoke {
        return revoke(&client, file, stop);
    }
    let credentials = credentials(arguments, environment)?;
    let host = client
        .hosts
        .service_patiently(Service::Account, &client.retry, stop)?;
    let token = account::log_in(|_| host.clone(), &credentials, &client.retry, stop)?;
    print(&format!("{}\n", token.expose()))
}

fn client(arguments: &Arguments, environment: &Environment) -> Result<ApiClient, Failure> {
    let (settings, _) = Settings::from_environment(environment);
    let given = arguments.meta_ip.zip(arguments.meta_cn.clone());
    let meta = given
        .map(|(ip, cn)| Meta { ip, cn, port: 443 })
        .or(settings.meta);
    let meta = meta.map(|meta| Meta {
        port: arguments.meta_port.unwrap_or(meta.port),
        ..meta
    });
    let ca = match &meta {
        Some(_) => pia_files::AUTHORITY.find(arguments.ca.as_deref(), environment)?,
        None => PathBuf::new(),
    };
    ApiClient::new(environment, meta, ca, Via::Routing)
}

fn credentials(arguments: &Arguments, environment: &Environment) -> Result<Credentials, Failure> {
    let (settings, _) = Settings::from_environment(environment);
    let from_environment = settings.credentials;
    // On any Linux, USER is the name of who is logged in there; only along with a password is it
    // PIA's.
    let has_password =
        from_environment.password.is_some() || from_environment.password_file.is_some();
    let mut sources = CredentialSources {
        user: arguments
            .user
            .clone()
            .or(from_environment.user.filter(|_| has_password)),
        user_file: arguments.user_file.clone().or(from_environment
            .user_file
            .filter(|_| arguments.user.is_none())),
        password: arguments.password.clone().or(from_environment.password),
        password_file: arguments.password_file.clone().or(from_environment
            .password_file
            .filter(|_| arguments.password.is_none())),
        directories: from_environment.directories,
    };
    if arguments.password_stdin {
        sources.password = Some(first_line_of_input()?);
        sources.password_file = None;
    }
    credentials::read(&sources).map_err(|missing| {
        let missing = credentials::in_words(&missing);
        failed(format!(
            "{missing} missing: give --user with --password, --password-file or --password-stdin, \
             or set USER and PASS (or USER_FILE and PASS_FILE)"
        ))
    })
}

fn failed(text: String) -> Failure {
    Failure::new(FailureKind::Local, Retry::Never, text)
}

fn first_line_of_input() -> Result<Secret, Failure> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| failed(format!("standard input: {error}")))?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

fn revoke(client: &ApiClient, file: &Path, stop: &CancellationToken) -> Result<(), Failure> {
    let token = token_file::read(file)?;
    let host = client.hosts.service(Service::Account, stop)?;
    account::expire_token(&host, &token, client.retry.max_time, stop)?;
    log::info!("The token in {} is no longer good", file.display());
    Ok(())
}
