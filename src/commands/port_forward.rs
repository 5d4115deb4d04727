//! `port-forward`: keeps a port forwarded for as long as it runs, at the server of a tunnel that
//! others brought up.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::api_client::ApiClient;
use super::auth::token_in;
use super::claimed_gateway;
use super::getopts::ScriptOptions;
use super::{Problem, pia_files};
use crate::failure::Failure;
use crate::hooks::{self, Surroundings};
use crate::pia::credentials::Token;
use crate::pia::error::{ApiError, Remedy};
use crate::pia::forwarding;
use crate::pia::host::Host;
use crate::pia::lease::Lease;
use crate::settings::{Environment, Settings};
use crate::system::cancellation::{CancellationToken, Cancelled};
use crate::system::files;
use crate::underlay::socket::Via;

/// As `pf.sh` took them.
pub const OPTIONS: ScriptOptions = ScriptOptions {
    with_value: &[
        (b't', "token-file"),
        (b'i', "gateway"),
        (b'n', "name"),
        (b'c', "ca"),
        (b'p', "port-file"),
        (b'f', "interface"),
        (b's', "script"),
        (b'r', "lease-file"),
    ],
    switches: &[],
};

/// For one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first pause after a failure; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The clock is looked at that often: a machine that slept refreshes at once on waking.
const GLANCE: Duration = Duration::from_secs(5);

/// Keep a port forwarded for as long as this runs, as pf.sh did.
///
/// Without --gateway the first hop through the tunnel is asked; without --name its certificate says
/// who it is, which only proves that it is a server of PIA's. wg-gen writes both into its file
/// (`#pf api ip`, `#cn`).
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// File with the account token, the one that the tunnel was registered with.
    #[arg(short, long, value_name = "FILE")]
    token_file: PathBuf,
    /// Address of the gateway inside the tunnel.
    #[arg(short = 'i', long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Common name of the VPN server, such as zurich406.
    #[arg(short, long)]
    name: Option<String>,
    /// PIA's certificate authority (else PIA_CA_FILE, or the usual places).
    #[arg(short, long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Write the port to this file.
    #[arg(short, long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Send everything by this interface, such as wg0; otherwise as the routing tables say.
    #[arg(short = 'f', long)]
    interface: Option<String>,
    /// Run this command line, with the port appended, for each newly forwarded port.
    #[arg(short, long, value_name = "COMMAND")]
    script: Option<String>,
    /// Keep the lease in this file, so that the port stays the same from run to run (for up to two
    /// months).
    #[arg(short = 'r', long, value_name = "FILE")]
    lease_file: Option<PathBuf>,
}

/// Runs until it is told to stop, which is no failure.
///
/// # Errors
/// When there is no gateway, or it refuses at the start.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Problem> {
    let mut keeper = Keeper::new(arguments, environment, stop)?;
    match keeper.keep() {
        Err(End::Stopped) => {
            log::info!("Cancelled: the port is no longer refreshed and will soon be closed");
            Ok(())
        }
        Err(End::Refused(error)) => Err(Problem::Other(format!("Fatal error: {error}"))),
        Ok(never) => match never {},
    }
}

/// Why it ends.
enum End {
    Stopped,
    /// There is no port to be had, and waiting does not help.
    Refused(ApiError),
}

impl From<Cancelled> for End {
    fn from(_: Cancelled) -> Self {
        Self::Stopped
    }
}

/// Keeps a lease bound.
struct Keeper<'a> {
    arguments: &'a Arguments,
    environment: &'a Environment,
    gateway: Host,
    token: Token,
    interval: Duration,
    stop: CancellationToken,
    /// The port that others were told.
    announced: Option<u16>,
}

impl<'a> Keeper<'a> {
    fn new(
        arguments: &'a Arguments,
        environment: &'a Environment,
        stop: &CancellationToken,
    ) -> Result<Self, Problem> {
        let token = token_in(&arguments.token_file)?;
        let ca = pia_files::AUTHORITY.find(arguments.ca.as_deref(), environment)?;
        let via = match &arguments.interface {
            Some(name) if !Path::new("/sys/class/net").join(name).exists() => {
                return Err(Problem::Other(format!(
                    "there is no interface {name}: is the tunnel up?"
                )));
            }
            Some(name) => Via::Interface(name.clone()),
            None => Via::Routing,
        };
        let mut client = ApiClient::new(environment, None, ca.clone(), via.clone(), stop)?;
        let address = match arguments.gateway {
            Some(address) => address,
            None => claimed_gateway::first_hop(&via, stop)?,
        };
        let name = match &arguments.name {
            Some(name) => name.clone(),
            None => claimed_gateway::claimed_name(address, &ca, &via, stop)?,
        };
        let gateway = Host::forwarding(&name, address, &client.pia()?, via);
        let (settings, _) = Settings::from_environment(environment);
        let interval = settings.port_forwarding.rebind_interval;
        Ok(Self {
            arguments,
            environment,
            gateway,
            token,
            interval,
            stop: stop.clone(),
            announced: None,
        })
    }

    fn keep(&mut self) -> Result<std::convert::Infallible, End> {
        let mut lease = self.stored_lease();
        let mut pause = FIRST_PAUSE;
        loop {
            let is_fresh = lease.is_none();
            let error = match self.bind(&mut lease) {
                Ok(port) => {
                    self.announce(port);
                    pause = FIRST_PAUSE;
                    self.wait(self.interval)?;
                    continue;
                }
                Err(error) => error,
            };
            if error.remedy() == Remedy::NewLease {
                lease = None;
                self.forget_lease();
            }
            match judge(&error, self.announced.is_none(), is_fresh) {
                Verdict::Stopped => return Err(End::Stopped),
                Verdict::GiveUp => return Err(End::Refused(error)),
                Verdict::NewLease => log::warn!("{error}; asking for a new lease"),
                Verdict::Again => {
                    log::warn!("{error}; again in {} s", pause.as_secs());
                    self.stop.pause(pause)?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Binds the lease, or refreshes the binding; without a lease that lasts, a new one.
    fn bind(&self, lease: &mut Option<Lease>) -> Result<u16, ApiError> {
        let lasting = lease
            .take()
            .filter(|lease| !lease.is_due_for_renewal(SystemTime::now()));
        let current = match lasting {
            Some(lease) => lease,
            None => {
                let new = forwarding::lease(&self.gateway, &self.token, PATIENCE, &self.stop)?;
                log::info!(
                    "Leased port {} until {}",
                    new.port,
                    humantime::format_rfc3339_seconds(new.expires_at)
                );
                self.store_lease(&new);
                new
            }
        };
        let current = lease.insert(current);
        let answer = forwarding::bind_port(&self.gateway, current, PATIENCE, &self.stop)?;
        log::debug!("bindPort: {answer}");
        Ok(current.port)
    }

    fn announce(&mut self, port: u16) {
        if self.announced == Some(port) {
            return;
        }
        self.announced = Some(port);
        log::info!("Forwarding on port {port}");
        log::info!(
            "It is refreshed every {} s for as long as this runs",
            self.interval.as_secs()
        );
        if let Some(file) = &self.arguments.port_file {
            match files::replace(file, format!("{port}\n").as_bytes(), 0o644) {
                Ok(()) => log::info!("Wrote the port to {}", file.display()),
                Err(error) => log::warn!("{error}"),
            }
        }
        self.run_script(port);
    }

    fn run_script(&self, port: u16) {
        let Some(script) = &self.arguments.script else {
            return;
        };
        let (text, stop) = (format!("{script} {port}"), self.stop.clone());
        let environment: Vec<_> = self.environment.pairs().collect();
        let run = move || {
            hooks::run_text(
                "port-script",
                &text,
                &Surroundings {
                    environment: &environment,
                    stop: &stop,
                },
            );
        };
        if let Err(error) = std::thread::Builder::new()
            .name("port-script".into())
            .spawn(run)
        {
            log::warn!("{script}: cannot be run: {error}");
        }
    }

    /// By the wall clock.
    fn wait(&self, duration: Duration) -> Result<(), Cancelled> {
        let due = SystemTime::now() + duration;
        while let Ok(left) = due.duration_since(SystemTime::now()) {
            // A clock that was set back must not keep the port from being refreshed.
            if left.is_zero() || left > duration {
                break;
            }
            self.stop.pause(left.min(GLANCE))?;
        }
        self.stop.check()
    }

    fn stored_lease(&self) -> Option<Lease> {
        let file = self.arguments.lease_file.as_ref()?;
        let text = files::read_if_present(file)
            .inspect_err(|error| log::warn!("{error}"))
            .ok()??;
        let lease = Lease::parse(text.as_bytes());
        let lease = lease
            .inspect_err(|error| log::warn!("{}: {error}; getting a new one", file.display()))
            .ok()?;
        log::info!("Using the lease in {}", file.display());
        Some(lease)
    }

    /// It holds the account token, so it is nobody else's to read.
    fn store_lease(&self, lease: &Lease) {
        let Some(file) = &self.arguments.lease_file else {
            return;
        };
        if let Err(error) = files::replace(file, lease.answer(), 0o600) {
            log::warn!("{error}; the next run gets another port");
        }
    }

    fn forget_lease(&self) {
        if let Some(file) = &self.arguments.lease_file
            && let Err(error) = files::remove_if_present(file)
        {
            log::warn!("{error}");
        }
    }
}

/// What a failure calls for.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Again,
    NewLease,
    GiveUp,
    Stopped,
}

/// A port that was held once is fought for; where there never was one, a clear no is an answer. A
/// lease that is refused although it is fresh says more about the server than about the lease.
fn judge(error: &ApiError, is_first: bool, is_fresh: bool) -> Verdict {
    match error.remedy() {
        Remedy::Stopped => Verdict::Stopped,
        Remedy::NewLease if !is_fresh => Verdict::NewLease,
        _ if is_first && !error.is_transient() => Verdict::GiveUp,
        _ => Verdict::Again,
    }
}

impl From<crate::pia::trust::TrustError> for Problem {
    fn from(error: crate::pia::trust::TrustError) -> Self {
        Failure::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::error::{ApiErrorKind, Call, LeaseRefusal};

    fn error(failure: ApiErrorKind) -> ApiError {
        ApiError {
            call: Call::BindPort,
            host: "zurich406".into(),
            kind: failure,
            tries: 1,
        }
    }

    #[test]
    fn an_old_lease_that_is_refused_is_replaced_at_once() {
        let refused = error(ApiErrorKind::LeaseRefused {
            message: String::new(),
            reason: LeaseRefusal::Other,
        });
        assert_eq!(judge(&refused, true, false), Verdict::NewLease);
        assert_eq!(judge(&refused, false, false), Verdict::NewLease);
    }

    #[test]
    fn a_fresh_one_that_is_refused_ends_it_at_the_start_only() {
        let refused = error(ApiErrorKind::LeaseRefused {
            message: String::new(),
            reason: LeaseRefusal::Other,
        });
        assert_eq!(judge(&refused, true, true), Verdict::GiveUp);
        assert_eq!(judge(&refused, false, true), Verdict::Again);
    }

    #[test]
    fn trouble_that_may_pass_is_waited_out() {
        let trouble = error(ApiErrorKind::ServerTrouble { status: 503 });
        assert_eq!(judge(&trouble, true, true), Verdict::Again);
        assert_eq!(
            judge(&error(ApiErrorKind::Stopped), false, false),
            Verdict::Stopped
        );
    }
}
