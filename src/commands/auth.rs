//! `auth`: an account token on standard output.

use std::io::{self, BufRead};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::api_client::ApiClient;
use super::getopts::ScriptOptions;
use super::locations::print;
use super::{Problem, pia_files};
use crate::connect::account::Account;
use crate::connect::hosts::Service;
use crate::pia::account;
use crate::pia::credentials::{Credentials, Token};
use crate::settings::{CredentialSources, Environment, Meta, Settings};
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;
use crate::system::{files, paths};
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
) -> Result<(), Problem> {
    let mut client = client(arguments, environment, stop)?;
    if let Some(file) = &arguments.revoke {
        return revoke(&mut client, file);
    }
    let credentials = credentials(arguments, environment)?;
    let host = client.service(Service::Account)?;
    let token = account::log_in(&host, &credentials, &client.retry, &client.stop)
        .map_err(|error| Problem::Other(error.to_string()))?;
    print(&format!("{}\n", token.expose()))
}

fn client(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<ApiClient, Problem> {
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
    ApiClient::new(environment, meta.as_ref(), ca, Via::Routing, stop)
}

fn credentials(arguments: &Arguments, environment: &Environment) -> Result<Credentials, Problem> {
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
    };
    if arguments.password_stdin {
        sources.password = Some(first_line_of_input()?);
        sources.password_file = None;
    }
    Account::credentials_from(&sources).map_err(|missing| {
        Problem::Other(format!(
            "{} missing: give --user with --password, --password-file or --password-stdin, or set \
             USER and PASS (or \
             USER_FILE and PASS_FILE)",
            missing.join(" and ")
        ))
    })
}

fn first_line_of_input() -> Result<Secret, Problem> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Problem::Other(format!("standard input: {error}")))?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

fn revoke(client: &mut ApiClient, file: &std::path::Path) -> Result<(), Problem> {
    let token = token_in(file)?;
    let host = client.service(Service::Account)?;
    account::expire_token(&host, &token, client.retry.max_time, &client.stop)
        .map_err(|error| Problem::Other(error.to_string()))?;
    log::info!("The token in {} is no good any more", file.display());
    Ok(())
}

/// The token in a file, as `auth` printed it.
///
/// # Errors
/// When there is none.
pub fn token_in(file: &std::path::Path) -> Result<Token, Problem> {
    let text = files::read_if_present(file).map_err(|error| Problem::Login(error.to_string()))?;
    let text = text.ok_or_else(|| {
        Problem::Login(format!(
            "{}: there is no such file: make one with `wireguard-pia auth -u USER \
             --password-stdin > {}`",
            file.display(),
            file.display()
        ))
    })?;
    Token::parse(&text).map_err(|error| Problem::Login(format!("{}: {error}", file.display())))
}
