//! `port-forward`: keeps a port forwarded for as long as it runs, at the server of a tunnel that
//! others brought up.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread::Builder;

use super::api_client::ApiClient;
use super::getopts::ScriptOptions;
use super::{pia_files, token_file};
use crate::connect::account::Account;
use crate::failure::{Failure, FailureKind, Retry};
use crate::hooks::{self, Surroundings};
use crate::port_forward::{
    Effect, LeaseFile, LeaseMachine, LeaseOptions, PortService, Worker, gateway_discovery,
};
use crate::settings::{Environment, Settings};
use crate::system::cancellation::CancellationToken;
use crate::system::files::Ownership;
use crate::system::shared_files::Notice;
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

/// Keep a port forwarded for as long as this runs, as pf.sh did.
///
/// Without --gateway the first hop through the tunnel is asked; without --name its certificate says
/// who it is, which only proves that it is a server of PIA's. wg-gen writes both into its file
/// (`#pf api ip`, `#cn`).
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
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
) -> Result<(), Failure> {
    let token = token_file::read(&arguments.token_file)?;
    let service = service(arguments, environment, stop)?;
    let (settings, _) = Settings::from_environment(environment);
    let options = LeaseOptions {
        interval: settings.port_forwarding.rebind_interval,
        fatal: false,
        other_servers: false,
    };
    let client = ApiClient::new(environment, None, PathBuf::new(), service.via.clone())?;
    let account = Account::with_token(client.hosts, client.retry, token);
    let mut handler = EffectHandler {
        arguments,
        environment,
        stop,
        options,
        lease_file: arguments.lease_file.clone().map(LeaseFile::new),
        announced: None,
        notice: Notice::default(),
        was_bound: false,
        cause: None,
    };
    let stored = handler.lease_file.as_ref().and_then(LeaseFile::read);
    let mut machine = LeaseMachine::new(options, stored, fastrand::Rng::new());
    let worker = Worker::new(service, account);
    worker.take_over(&mut machine);
    match worker.run(&mut machine, |effect| handler.handle(effect), stop) {
        // pf.sh has one status for all that can go wrong.
        Some(failure) => Err(failure
            .with_kind(FailureKind::Local)
            .with_text_before("Fatal error: ")),
        None => {
            log::info!("Stopped: the port is no longer refreshed and will soon be closed");
            Ok(())
        }
    }
}

/// Who is asked for the port.
fn service(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<PortService, Failure> {
    let ca_file = pia_files::AUTHORITY.find(arguments.ca.as_deref(), environment)?;
    let via = match &arguments.interface {
        Some(name) if !Path::new("/sys/class/net").join(name).exists() => {
            let text = format!("there is no interface {name}: is the tunnel up?");
            return Err(Failure::new(FailureKind::Local, Retry::Never, text));
        }
        Some(name) => Via::Interface(name.clone()),
        None => Via::Routing,
    };
    let address = match arguments.gateway {
        Some(address) => address,
        None => gateway_discovery::first_hop(&via, stop)?,
    };
    let cn = match &arguments.name {
        Some(name) => name.clone(),
        None => gateway_discovery::claimed_name(address, &ca_file, &via, stop)?,
    };
    Ok(PortService {
        cn,
        addresses: vec![address],
        ca_file,
        via,
        is_supported: true,
    })
}

/// What becomes of the port's effects by hand: log, port file, script.
struct EffectHandler<'a> {
    arguments: &'a Arguments,
    environment: &'a Environment,
    stop: &'a CancellationToken,
    options: LeaseOptions,
    lease_file: Option<LeaseFile>,
    /// The port that others were told.
    announced: Option<u16>,
    notice: Notice,
    /// A port that was held once is fought for; where there never was one, a clear no is an answer.
    was_bound: bool,
    /// What led to a step that was taken at once.
    cause: Option<Failure>,
}

impl EffectHandler<'_> {
    fn handle(&mut self, effect: Effect) -> ControlFlow<Failure> {
        match effect {
            Effect::Store(lease) => {
                let days = humantime::format_rfc3339_seconds(lease.expires_at);
                log::info!("Leased port {} until {days}", lease.port);
                if let Some(file) = &self.lease_file
                    && let Err(error) = file.store(&lease)
                {
                    log::warn!("storing the lease: {error}; the next start gets another port");
                }
            }
            Effect::Bound { port } => self.announce(port),
            Effect::Withdraw { why } => self.withdraw(&why),
            Effect::Failing { failure, again } if again.is_zero() => {
                log::warn!("{failure}; trying anew");
                self.cause = Some(failure);
            }
            Effect::Failing { failure, .. } if !self.was_bound && is_clear_no(&failure) => {
                return ControlFlow::Break(match self.cause.take() {
                    // That there is no other token is not the reason.
                    Some(cause) if failure.kind == FailureKind::Login => {
                        let text = format!("{cause}; {failure}");
                        failure.with_text(text)
                    }
                    _ => failure,
                });
            }
            Effect::Failing { failure, again } => {
                log::warn!("{failure}; trying again in {} s", again.as_secs().max(1));
            }
            // Said with the failure itself; by hand there is no other server and nothing is fatal.
            // Nobody wishes for anything here, nor is anything fatal.
            Effect::NotHere { .. }
            | Effect::AskAnotherServer { .. }
            | Effect::Granted { .. }
            | Effect::Denied { .. }
            | Effect::Fatal { .. } => {}
        }
        ControlFlow::Continue(())
    }

    fn announce(&mut self, port: u16) {
        self.was_bound = true;
        if self.announced == Some(port) {
            return;
        }
        self.announced = Some(port);
        log::info!("Forwarding on port {port}");
        let interval = self.options.interval.as_secs();
        log::info!("It is refreshed every {interval} s for as long as this runs");
        if let Some(file) = &self.arguments.port_file {
            let ownership = Ownership::own(0o644);
            match self
                .notice
                .say(file, format!("{port}\n").as_bytes(), ownership)
            {
                Ok(()) => log::info!("Wrote the port to {}", file.display()),
                Err(error) => log::warn!("{error}"),
            }
        }
        self.run_script(port);
    }

    fn withdraw(&mut self, why: &str) {
        let Some(port) = self.announced.take() else {
            return;
        };
        log::warn!("Port {port} is no longer forwarded: {why}");
        if let Some(file) = &self.arguments.port_file
            && let Err(error) = self.notice.take_back(file)
        {
            log::warn!("{error}");
        }
    }

    fn run_script(&self, port: u16) {
        let Some(script) = &self.arguments.script else {
            return;
        };
        let (text, stop) = (format!("{script} {port}"), self.stop.clone());
        let environment: Vec<_> = self.environment.pairs().collect();
        let run = move || {
            let surroundings = Surroundings {
                environment: &environment,
                stop: &stop,
            };
            hooks::run_text("port-script", &text, &surroundings);
        };
        if let Err(error) = Builder::new().name("port-script".into()).spawn(run) {
            log::warn!("{script}: cannot be run: {error}");
        }
    }
}

/// Whether waiting does not help where there never was a port.
fn is_clear_no(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::NoPortForwarding
        | FailureKind::LeaseRefused(_)
        | FailureKind::Login
        | FailureKind::Local => true,
        FailureKind::PortForwarding => !matches!(failure.retry, Retry::Later(_)),
        _ => false,
    }
}
