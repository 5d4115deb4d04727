//! `wg-gen`: registers a fresh key and writes a configuration that plain wg-quick brings up.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api_client::ApiClient;
use super::auth::token_in;
use super::getopts::ScriptOptions;
use super::locations::print;
use super::{Problem, pia_files};
use crate::connect::hosts::Service;
use crate::connect::location_table;
use crate::connect::server_selection::candidates::{self, Candidate};
use crate::connect::server_selection::latency;
use crate::connect::server_selection::locations;
use crate::pia::account::{self, ListVersion};
use crate::pia::credentials::Token;
use crate::pia::error::{ApiError, Remedy};
use crate::pia::host::REGISTRATION_PORT;
use crate::pia::regions::{Location, Server, ServerList};
use crate::pia::registration::{self, Proof, Registration};
use crate::settings::{Environment, ServerChoice, Settings, values};
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;
use crate::wireguard::conf::Conf;
use crate::wireguard::keys::KeyPair;

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

/// How long one server may take: another is better than patience.
const ONE_SERVER: Duration = Duration::from_secs(10);
/// The nearest locations that `auto` tries.
const NEAREST: usize = 5;

/// Register a fresh key and write a configuration for wg-quick, as wg-gen.sh did.
///
/// The server: PIA_DIP_TOKEN (a dedicated IP), else PIA_IP with PIA_CN and PIA_PORT, else
/// --location. META_IP, META_CN and META_PORT name a meta server to ask instead of PIA's web hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = super::EXIT_STATUS)]
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
}

/// What wg-quick takes on a line of DNS: addresses, and search domains.
fn dns(text: &str) -> Result<String, String> {
    let is_domain = |part: &str| {
        part.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_'))
            && part.chars().any(|letter| letter.is_ascii_alphabetic())
    };
    let parts: Vec<&str> = values::list(text).collect();
    if text.trim() == "0" {
        return Ok(String::new());
    }
    match parts
        .iter()
        .find(|part| part.parse::<IpAddr>().is_err() && !is_domain(part))
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
/// The kind of the problem is the exit status.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Problem> {
    if arguments.list {
        return list(arguments, environment, stop);
    }
    let (Some(token_file), Some(output)) = (&arguments.token_file, &arguments.output) else {
        return Err(Problem::Other(
            "--token-file and --output are needed".to_owned(),
        ));
    };
    let token = token_in(token_file)?;
    let ca = pia_files::AUTHORITY.find(arguments.ca.as_deref(), environment)?;
    let mut generation = Generation {
        client: ApiClient::from_environment(environment, Some(&ca), stop)?,
        token,
        arguments,
        environment,
    };
    let (candidates, proof) = generation.candidates()?;
    let made = generation.register(candidates, proof.as_ref())?;
    write(&conf(&made, arguments), output)?;
    let forwarding = if made.candidate.port_forwarding {
        "available"
    } else {
        "not available"
    };
    log::info!("Port forwarding is {forwarding} at this location");
    log::info!(
        "Wrote {}; bring it up with: wg-quick up {}",
        output.display(),
        output.display()
    );
    Ok(())
}

fn list(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Problem> {
    let key = pia_files::LIST_KEY.find(arguments.list_key.as_deref(), environment)?;
    let mut client = ApiClient::from_environment(environment, arguments.ca.as_deref(), stop)?;
    print(&location_table::short(
        &client.server_list(ListVersion::V6, &key)?,
    ))
}

/// What a configuration is generated with.
struct Generation<'a> {
    client: ApiClient,
    token: Token,
    arguments: &'a Arguments,
    environment: &'a Environment,
}

/// A server that took our key.
struct Made {
    candidate: Candidate,
    keys: KeyPair,
    registration: Registration,
}

impl Generation<'_> {
    /// The servers to try, and the dedicated IP's token where it is one.
    fn candidates(&mut self) -> Result<(Vec<Candidate>, Option<Secret>), Problem> {
        let (settings, _) = Settings::from_environment(self.environment);
        match settings.destination {
            ServerChoice::DedicatedIp(dip) => Ok((vec![self.dedicated_ip(&dip)?], Some(dip))),
            ServerChoice::Manual { ip, cn, port } => {
                let server = Server { cn, ip };
                Ok((
                    vec![Candidate {
                        location: "manual".into(),
                        server,
                        port,
                        port_forwarding: true,
                    }],
                    None,
                ))
            }
            ServerChoice::Locations(ids) => self.of_locations(&ids).map(|found| (found, None)),
            ServerChoice::Nearest => self
                .of_locations(&["auto".to_owned()])
                .map(|found| (found, None)),
            ServerChoice::Unset => self.of_locations(&[]).map(|found| (found, None)),
        }
    }

    fn dedicated_ip(&mut self, dip: &Secret) -> Result<Candidate, Problem> {
        log::info!("Asking for the server of the dedicated IP");
        let host = self
            .client
            .service(Service::Account)
            .map_err(|failure| Problem::ServerList(failure.to_string()))?;
        let found = account::dedicated_ip(
            &host,
            &self.token,
            dip,
            &self.client.retry,
            &self.client.stop,
        )
        .map_err(|error| Problem::from_server_list(&error))?;
        let account::DedicatedIp {
            id,
            server,
            port_forward,
            ..
        } = found;
        Ok(Candidate {
            location: id,
            server,
            port: REGISTRATION_PORT,
            port_forwarding: port_forward,
        })
    }

    fn of_locations(&mut self, by_environment: &[String]) -> Result<Vec<Candidate>, Problem> {
        let given: Option<Vec<String>> = self
            .arguments
            .location
            .as_deref()
            .map(|ids| values::list(ids).map(str::to_owned).collect());
        let ids = given.unwrap_or_else(|| by_environment.to_vec());
        if ids.is_empty() {
            return Err(Problem::Location(
                "which location? Give --location; --list shows them".to_owned(),
            ));
        }
        // A key that is nowhere is a matter of its own, and says so; the list itself has a status
        // of its own too.
        let key = pia_files::LIST_KEY.find(self.arguments.list_key.as_deref(), self.environment)?;
        log::info!("Fetching the server list");
        let list = self.client.server_list(ListVersion::V6, &key)?;
        log::info!("Verified server list ({} locations)", list.locations.len());
        let port = list.ports.registration;
        let locations = match ids.as_slice() {
            [only] if only.eq_ignore_ascii_case("auto") => self.nearest(&list)?,
            _ => self.chosen(&ids, list, &key)?,
        };
        Ok(candidates::of_locations(
            &locations,
            port,
            &mut fastrand::Rng::new(),
        ))
    }

    fn nearest(&self, list: &ServerList) -> Result<Vec<Location>, Problem> {
        let usable = list
            .locations
            .iter()
            .filter(|location| locations::is_usable(location))
            .cloned()
            .collect();
        let (via, stop) = (self.client.via(), &self.client.stop);
        let measured = latency::nearest_first(usable, list.ports.registration, via, stop, |_| ());
        let near: Vec<Location> = measured
            .into_iter()
            .take(NEAREST)
            .map(|(location, _)| location)
            .collect();
        if near.is_empty() {
            Err(Problem::Location("no location answered".to_owned()))
        } else {
            Ok(near)
        }
    }

    /// As in the container, an id that the list lacks is looked up in the newer one.
    fn chosen(
        &mut self,
        ids: &[String],
        list: ServerList,
        key: &Path,
    ) -> Result<Vec<Location>, Problem> {
        let is_complete = locations::choose(ids, &[&list]).problems.is_empty();
        let mut lists = vec![list];
        if !is_complete {
            match self.client.server_list(ListVersion::V7, key) {
                Ok(newer) => lists.push(newer),
                Err(problem) => log::debug!("{problem}"),
            }
        }
        let choice = locations::choose(ids, &lists.iter().collect::<Vec<_>>());
        if choice.locations.is_empty() {
            let what: Vec<String> = choice.problems.iter().map(ToString::to_string).collect();
            return Err(Problem::Location(what.join("; ")));
        }
        choice
            .problems
            .iter()
            .for_each(|problem| log::warn!("{problem}"));
        Ok(choice.locations)
    }

    /// At the first that takes our key.
    fn register(
        &mut self,
        candidates: Vec<Candidate>,
        dip: Option<&Secret>,
    ) -> Result<Made, Problem> {
        let mut tried = Vec::new();
        for candidate in candidates {
            let Candidate {
                location,
                server,
                port,
                ..
            } = &candidate;
            log::info!("Registering with {location}: {} ({})", server.cn, server.ip);
            let keys = KeyPair::generate(&self.client.stop).map_err(|error| {
                Problem::Other(format!("{error}; is wireguard-tools installed?"))
            })?;
            let host = self.client.server(server, *port)?;
            let proof = match dip {
                Some(token) => Proof::DedicatedIp {
                    token,
                    ip: server.ip,
                },
                None => Proof::Token(&self.token),
            };
            match registration::add_key(&host, proof, &keys.public, ONE_SERVER, &self.client.stop) {
                Ok(registration) => {
                    return Ok(Made {
                        candidate,
                        keys,
                        registration,
                    });
                }
                Err(error) if error.remedy() == Remedy::LogInAgain => return Err(refused(&error)),
                Err(error) => {
                    log::warn!("{error}");
                    tried.push(format!("{} ({}): {}", server.cn, server.ip, error.kind));
                }
            }
        }
        Err(Problem::Registration(format!(
            "no server took the key. Tried {}",
            tried.join("; ")
        )))
    }
}

fn refused(error: &ApiError) -> Problem {
    Problem::Login(format!(
        "{error}: get a new token with `wireguard-pia auth`"
    ))
}

/// No mark: whoever brings it up lets wg-quick choose one.
fn conf(made: &Made, arguments: &Arguments) -> Conf {
    let of_pia = || -> Vec<String> {
        made.registration
            .dns_servers
            .iter()
            .take(2)
            .map(Ipv4Addr::to_string)
            .collect()
    };
    Conf {
        location: made.candidate.location.clone(),
        private_key: made.keys.private.clone(),
        address: made.registration.peer_ip,
        mark: 0,
        dns: arguments.dns.clone().unwrap_or_else(|| of_pia().join(",")),
        mtu: arguments.mtu,
        peer: made.registration.server_public_key.clone(),
        endpoint: SocketAddrV4::new(made.candidate.server.ip, made.registration.server_port),
        keepalive: None,
        server_cn: made.candidate.server.cn.clone(),
        port_forwarding_gateway: made
            .registration
            .server_vip
            .filter(|_| made.candidate.port_forwarding),
    }
}

/// Where there is a file already, through a link too, that file gets the content; a pipe or
/// terminal does likewise.
fn write(conf: &Conf, output: &Path) -> Result<(), Problem> {
    let target = output.canonicalize().unwrap_or_else(|_| output.to_owned());
    let is_special = target.metadata().is_ok_and(|found| !found.is_file());
    let written = if is_special {
        conf.write_into(output)
    } else {
        conf.write(&target)
    };
    written.map_err(|error| Problem::Other(error.to_string()))
}
