//! `wg-gen`: registers a fresh key and writes a configuration that plain wg-quick brings up.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::api_client::ApiClient;
use super::getopts::ScriptOptions;
use super::output::print;
use super::{pia_files, token_file};
use crate::connect::account::Account;
use crate::connect::connector::Connector;
use crate::connect::location_table;
use crate::connect::register::{Joined, Tried};
use crate::connect::server_selection::Selection;
use crate::failure::{Failure, FailureKind, Retry};
use crate::settings::values::is_domain_name;
use crate::settings::{self, Environment, ServerChoice, Settings};
use crate::system::cancellation::CancellationToken;
use crate::wireguard::conf::Conf;

/// What the command's `--help` ends with.
const EXIT_STATUS: &str = "Exit status: 0 done, 1 failed, 2 token refused, 3 no such location, \
     4 registration failed, 5 no server list.";

/// As `wg-gen.sh` took them.
pub const OPTIONS: ScriptOptions = ScriptOptions {
    with_value: &[
        (b't', "token-file"),
        (b'l', "location"),
        (b'o', "output"),
        (b'k', "list-key"),
        (b'd', "dns"),
        (b'm', "mtu"),
        (b'c', "ca"),
    ],
    switches: &[(b'a', "list")],
};

/// Register a fresh key and write a configuration for wg-quick, as wg-gen.sh did.
///
/// The server: PIA_DIP_TOKEN (a dedicated IP), else PIA_IP with PIA_CN and PIA_PORT, else
/// --location. META_IP, META_CN and META_PORT name a meta server to ask instead of PIA's web hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_STATUS, args_override_self = true)]
pub struct Arguments {
    /// File with the account token, as `auth` prints it.
    #[arg(short, long, value_name = "FILE", required_unless_present = "list")]
    token_file: Option<PathBuf>,
    /// Location ids in order of preference, such as swiss, or auto for the nearest (else LOC).
    #[arg(short, long, value_name = "IDS")]
    location: Option<String>,
    /// Where the configuration is written, readable by its owner alone.
    #[arg(short, long, value_name = "FILE", required_unless_present = "list")]
    output: Option<PathBuf>,
    /// Public key of the server list (else PIA_SERVERLIST_KEY_FILE, or the usual places).
    #[arg(short = 'k', long, value_name = "FILE")]
    list_key: Option<PathBuf>,
    /// DNS servers instead of PIA's, separated by commas; 0 for none.
    #[arg(short, long, value_name = "ADDRESSES", value_parser = dns)]
    dns: Option<String>,
    /// MTU of the interface.
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(576..=65_535))]
    mtu: Option<u32>,
    /// PIA's certificate authority (else PIA_CA_FILE, or the usual places).
    #[arg(short, long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// List the locations and whether ports can be forwarded there; nothing else is done.
    #[arg(short = 'a', long)]
    list: bool,
    /// The list as wg-gen.sh printed it; set where we are called by that name.
    #[arg(long, hide = true)]
    list_objects: bool,
}

/// What wg-quick takes on a line of DNS: addresses, and search domains.
fn dns(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = settings::list(text).collect();
    if text.trim() == "0" {
        return Ok(String::new());
    }
    match parts
        .iter()
        .find(|part| part.parse::<IpAddr>().is_err() && !is_domain_name(part))
    {
        Some(bad) => Err(format!(
            "{bad:?} is no address; give some such as 10.0.0.243,10.0.0.242, or 0 for none"
        )),
        None => Ok(parts.join(",")),
    }
}

/// Registers and writes, or lists.
///
/// # Errors
/// The kind of the failure is the exit status.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    if arguments.list {
        return list(arguments, environment, stop);
    }
    let (Some(token_file), Some(output)) = (&arguments.token_file, &arguments.output) else {
        let text = "--token-file and --output are needed";
        return Err(Failure::new(FailureKind::Local, Retry::Never, text));
    };
    let token = token_file::read(token_file)?;
    let ca = pia_files::AUTHORITY.find(arguments.ca.as_deref(), environment)?;
    let client = ApiClient::from_environment(environment, Some(&ca))?;
    let choice = choice(arguments, environment)?;
    // A key that is nowhere matters only where a list is needed.
    let key = match choice {
        ServerChoice::Locations(_) | ServerChoice::Nearest | ServerChoice::NearestOf(_) => {
            pia_files::LIST_KEY.find(arguments.list_key.as_deref(), environment)?
        }
        _ => PathBuf::new(),
    };
    let selection = Selection {
        choice,
        ..client.selection(&key)
    };
    let account = Account::with_token(Arc::clone(&client.hosts), client.retry, token);
    let joined = Connector::new(client.hosts, account, selection).join(
        &[],
        &Tried::default(),
        None,
        stop,
    )?;
    write(&conf(&joined, arguments), output)?;
    let forwarding = if joined.port_forwarding {
        "available"
    } else {
        "not available"
    };
    log::info!("Port forwarding is {forwarding} at this location");
    let output = output.display();
    log::info!("Wrote {output}; bring it up with: wg-quick up {output}");
    Ok(())
}

fn list(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let key = pia_files::LIST_KEY.find(arguments.list_key.as_deref(), environment)?;
    let client = ApiClient::from_environment(environment, arguments.ca.as_deref())?;
    let mut selection = client.server_selection(&key);
    let list = selection.server_list(stop)?;
    print(&if arguments.list_objects {
        location_table::objects(list)
    } else {
        location_table::short(list)
    })
}

/// `--location` stands in for `LOC`, and so does not count where a server or a dedicated IP is set.
fn choice(arguments: &Arguments, environment: &Environment) -> Result<ServerChoice, Failure> {
    let (settings, _) = Settings::from_environment(environment);
    let choice = match (settings.destination, &arguments.location) {
        (chosen @ (ServerChoice::Manual { .. } | ServerChoice::DedicatedIp(_)), _) => chosen,
        (_, Some(ids)) => ServerChoice::from_locations(ids),
        (by_environment, None) => by_environment,
    };
    if choice == ServerChoice::Unset {
        let text = "which location? Give --location; --list shows them";
        return Err(Failure::new(FailureKind::Location, Retry::Never, text));
    }
    Ok(choice)
}

/// No mark: whoever brings it up lets wg-quick choose one.
fn conf(joined: &Joined, arguments: &Arguments) -> Conf {
    let registration = &joined.registration;
    let dns = match &arguments.dns {
        Some(dns) => dns.clone(),
        None => {
            let servers = registration.dns_servers.iter().take(2);
            let servers: Vec<String> = servers.map(ToString::to_string).collect();
            servers.join(",")
        }
    };
    Conf {
        location: joined.location.clone(),
        private_key: joined.keys.private.clone(),
        address: registration.peer_ip.into(),
        mark: 0,
        dns,
        mtu: arguments.mtu,
        peer: registration.server_public_key.clone(),
        endpoint: joined.endpoint(),
        keepalive: None,
        server_cn: joined.server.cn.clone(),
        port_forwarding_gateway: registration
            .server_vip
            .filter(|_| joined.port_forwarding)
            .map(Ipv4Addr::from),
    }
}

/// Where there is a file already, through a link too, that file gets the content; a pipe or
/// terminal does likewise.
fn write(conf: &Conf, output: &Path) -> Result<(), Failure> {
    let target = output.canonicalize().unwrap_or_else(|_| output.to_owned());
    let is_special = target.metadata().is_ok_and(|found| !found.is_file());
    if is_special {
        conf.write_into(output)?;
    } else {
        conf.write(&target)?;
    }
    Ok(())
}
