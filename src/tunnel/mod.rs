//! The tunnel that stands between a server of PIA and this container: set up, shown, taken down.

mod mtu;
mod networks;
mod replace;
mod trial;
mod way_in;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use self::networks::Networks;
use self::trial::TunnelTrial;
pub use self::way_in::{Lack, WayIn};
use crate::connect::register::Joined;
use crate::container::Container;
use crate::failure::{Failure, FailureKind, Retry};
use crate::firewall::kill_switch::KillSwitch;
use crate::firewall::{Backend, Destination, GatewayDns, Sealing, TunnelPolicy};
use crate::settings::VpnDns;
use crate::status::{self, State};
use crate::system::cancellation::CancellationToken;
use crate::system::command::Command;
use crate::system::files::FileError;
use crate::system::{parallel, paths};
use crate::underlay::first_sign::Witnesses;
use crate::underlay::name_servers::{self, NameServer, NameServers};
use crate::underlay::ping::Prober;
use crate::underlay::resolv_conf;
use crate::wireguard::conf::Conf;
use crate::wireguard::wg_quick::WgQuick;
use crate::wireguard::{hung, leftovers, routing_rules, show, sysctl};

/// For wg-quick to take the tunnel down, which it does at once, or never where something that it
/// runs hangs: engines kill what has not ended after ten seconds.
const DOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// For `wg-quick up`, which takes a twentieth of a second, and a minute at most where a machine is
/// very busy.
const UP_TIMEOUT: Duration = Duration::from_secs(60);

/// A tunnel that is up.
pub struct Tunnel {
    /// The server and the registration it rests on.
    pub joined: Joined,
    /// Those inside have answered by this registration, so that their silence speaks against it.
    pub has_answered: Arc<AtomicBool>,
    kill_switch: KillSwitch,
    wg_quick: WgQuick,
    dns: Vec<Ipv4Addr>,
    /// resolv.conf could not be written.
    owes_dns: AtomicBool,
    way_in: Arc<WayIn>,
}

impl Tunnel {
    /// Sets DNS, opens the firewall for the tunnel, brings the interface up, sets routes, and waits
    /// until the tunnel has carried something.
    ///
    /// # Errors
    /// When wg-quick fails, the firewall or a file cannot be set, or the tunnel carries nothing;
    /// all that was done is then undone, but for what a former tunnel has opened and set.
    pub fn bring_up(
        container: &Container,
        kill_switch: KillSwitch,
        joined: Joined,
    ) -> Result<Self, Failure> {
        let tunnel = Self {
            dns: dns_servers(&container.settings.dns, &joined.registration.dns_servers),
            wg_quick: wg_quick(container, &kill_switch),
            kill_switch,
            has_answered: Arc::default(),
            owes_dns: AtomicBool::default(),
            joined,
            way_in: Arc::new(WayIn::new(container)),
        };
        tunnel.conf(container).write(Path::new(paths::WG_CONF))?;
        let networks = Networks::find(container)?;
        let is_first = !tunnel.kill_switch.has_tunnel();
        // Before attached networks and the LAN are open, where the former name servers may be.
        tunnel.set_dns(container);
        let up = tunnel
            .make_interface(container, &networks)
            .and_then(|()| tunnel.start(container, &networks));
        match up {
            Ok(()) => return Ok(tunnel),
            Err(_) if is_first => tunnel.undo(container),
            Err(_) => tunnel.remove_interface(),
        }
        up.map(|()| tunnel)
    }

    /// Loads the rules of a tunnel, and has wg-quick bring the interface up. The first handshake
    /// must find the way to the endpoint open: where it is so already, and the backend has no lock,
    /// both are done at the same time.
    fn make_interface(&self, container: &Container, networks: &Networks) -> Result<(), Failure> {
        let endpoint = self.joined.endpoint();
        let load = || {
            let policy = self.policy(container, networks);
            self.kill_switch.connected(endpoint, policy)
        };
        let bring_up = || {
            log::info!("Bringing up WireGuard interface {}", paths::INTERFACE);
            self.bring_up_within(UP_TIMEOUT, &container.stop)
        };
        let is_open = self
            .kill_switch
            .admits(Destination::udp(*endpoint.ip(), endpoint.port()));
        if !is_open || !self.kill_switch.loads_beside_others() {
            load()?;
            return bring_up();
        }
        let (loaded, up) = parallel::both(load, bring_up);
        loaded?;
        up
    }

    /// wg-quick waits without an end for a WireGuard that hangs.
    fn bring_up_within(&self, limit: Duration, stop: &CancellationToken) -> Result<(), Failure> {
        let up = stop.limited(limit, |limited| {
            self.wg_quick.up(Path::new(paths::WG_CONF), limited)
        });
        match up {
            Err(error) if error.is_interrupted() && !stop.is_cancelled() => {
                let text = format!(
                    "wg-quick up has not ended within {} s, and is ended",
                    limit.as_secs()
                );
                Err(Failure::new(FailureKind::Local, Retry::Later(None), text))
            }
            up => Ok(up?),
        }
    }

    /// The kill switch around it.
    pub fn kill_switch(&self) -> &KillSwitch {
        &self.kill_switch
    }

    fn start(&self, container: &Container, networks: &Networks) -> Result<(), Failure> {
        // The answer comes while the rest is done.
        let trial = TunnelTrial::begin(&self.joined);
        self.set_routes(container, networks)?;
        for (interface, access) in &networks.local {
            log::info!("Allowing untunnelled access to {access} via {interface}");
        }
        for (access, network) in networks.narrowed_in_vain() {
            log::warn!(
                "LOCAL_NETWORK: {access} narrows nothing, as the container is attached to \
                 {network}, which is open both ways: LOCAL_PORTS limits what is reached here"
            );
        }
        self.warn_of_look_ups(container, networks);
        if let Some(qdisc) = &container.settings.qdisc {
            add_qdisc(qdisc, &container.stop);
        }
        self.pass(&trial, container)
    }

    /// Waits until the tunnel has carried something.
    fn pass(&self, trial: &TunnelTrial, container: &Container) -> Result<(), Failure> {
        let peering = self.peering(container);
        let is_answered = trial.wait(&self.joined, &peering, &container.stop)?;
        self.has_answered.store(is_answered, Ordering::Relaxed);
        Ok(())
    }

    fn conf(&self, container: &Container) -> Conf {
        let joined = &self.joined;
        Conf {
            location: joined.location.clone(),
            private_key: joined.keys.private.clone(),
            address: joined.registration.peer_ip.into(),
            mark: container.mark,
            dns: self.dns_line(container),
            mtu: mtu::choose(container.settings.mtu, *joined.endpoint().ip()),
            peer: joined.registration.server_public_key.clone(),
            endpoint: joined.endpoint(),
            keepalive: container.settings.keepalive,
            server_cn: joined.server.cn.clone(),
            port_forwarding_gateway: joined
                .registration
                .server_vip
                .filter(|_| joined.port_forwarding)
                .map(Ipv4Addr::from),
        }
    }

    /// As wg-quick takes it: name servers and search domains.
    fn dns_line(&self, container: &Container) -> String {
        let mut parts: Vec<String> = self.dns.iter().map(Ipv4Addr::to_string).collect();
        parts.extend_from_slice(container.settings.dns.search());
        parts.join(",")
    }

    fn name_server_inside(&self, networks: &Networks) -> Option<Ipv4Addr> {
        let is_inside = |server: &&Ipv4Addr| !networks.cover(**server);
        self.dns.iter().find(is_inside).copied()
    }

    fn warn_of_look_ups(&self, container: &Container, networks: &Networks) {
        let gateway = container.settings.gateway.as_ref();
        if gateway.is_some_and(|gateway| gateway.dns == GatewayDns::Wanted)
            && self.name_server_inside(networks).is_none()
        {
            let servers: Vec<String> = self.dns.iter().map(Ipv4Addr::to_string).collect();
            log::warn!(
                "FWD_DNS: no name server is inside the tunnel ({} is not), so look-ups of the \
                 machines behind go where they are sent to",
                servers.join(", ")
            );
        }
    }

    fn policy(&self, container: &Container, networks: &Networks) -> TunnelPolicy {
        let mut gateway = container.settings.gateway.clone();
        if let Some(gateway) = &mut gateway
            && gateway.dns == GatewayDns::Wanted
        {
            gateway.dns = match self.name_server_inside(networks) {
                Some(server) => GatewayDns::Server(server),
                None => GatewayDns::Untouched,
            };
        }
        TunnelPolicy {
            interface: paths::INTERFACE.to_owned(),
            name_servers: self.own_name_servers(container).collect(),
            attached: networks.attached.clone(),
            local: networks.local.clone(),
            local_ports: container.settings.local_ports.clone(),
            forwarded: None,
            gateway,
        }
    }

    /// Names the VPN's DNS servers in `/etc/resolv.conf`, unless the user wants it left alone.
    pub fn set_dns(&self, container: &Container) {
        if self.dns.is_empty() {
            return;
        }
        if let Err(error) = self.write_dns(container) {
            log::warn!(
                "DNS: {error}; until it can be written, names are looked up by the former name \
                 servers, which may be outside the tunnel"
            );
        }
        if container.settings.dns.uses_pia() {
            self.warn_of_hidden_servers(container);
        }
    }

    /// Writes it again where that has failed.
    pub fn settle_dns(&self, container: &Container) {
        if self.owes_dns() && self.write_dns(container).is_ok() {
            log::info!(
                "DNS: {} names the VPN's name servers now",
                paths::RESOLV_CONF
            );
        }
    }

    /// Whether it is to be written still.
    pub fn owes_dns(&self) -> bool {
        self.owes_dns.load(Ordering::Relaxed)
    }

    /// A failure stands in the status until this succeeds.
    fn write_dns(&self, container: &Container) -> Result<(), FileError> {
        let servers: Vec<IpAddr> = self.dns.iter().copied().map(IpAddr::V4).collect();
        let search = container.settings.dns.search();
        let file = Path::new(paths::RESOLV_CONF);
        let written = resolv_conf::take_over(file, &servers, search);
        self.owes_dns.store(written.is_err(), Ordering::Relaxed);
        let failure = written.as_ref().err().map(ToString::to_string);
        if container.reporter.current().dns_error != failure {
            container
                .reporter
                .update(|status| status.dns_error = failure);
        }
        written
    }

    fn warn_of_hidden_servers(&self, container: &Container) {
        for range in container.settings.local_ranges() {
            for server in self.dns.iter().filter(|server| range.contains(*server)) {
                log::warn!(
                    "LOCAL_NETWORK range {range} holds the VPN's DNS server {server}; that \
                     address is routed into the tunnel all the same. If the LAN has a host of that \
                     address, set VPNDNS to other servers"
                );
            }
        }
    }

    /// The name servers in use that are the VPN's own. Those that the user chose may be in the LAN,
    /// or on an attached network.
    fn own_name_servers(&self, container: &Container) -> impl Iterator<Item = Ipv4Addr> {
        let is_own = container.settings.dns.uses_pia();
        self.dns.iter().copied().filter(move |_| is_own)
    }

    fn set_routes(&self, container: &Container, networks: &Networks) -> Result<(), Failure> {
        let attached = networks.attached.iter();
        let attached: Vec<Ipv4Net> = attached
            .filter_map(|(_, network)| match network {
                IpNet::V4(network) => Some(*network),
                // None of it goes into the tunnel.
                IpNet::V6(_) => None,
            })
            .collect();
        let vip = self.joined.registration.server_vip.map(Ipv4Addr::from);
        let inside: Vec<Ipv4Addr> = self.own_name_servers(container).chain(vip).collect();
        let ranges = container.settings.local_ranges();
        let rules = routing_rules::rules(&ranges, &attached, &inside, container.mark);
        Ok(routing_rules::apply(&rules, &container.stop)?)
    }

    /// Has routes and kill switch follow the networks that there are now. The VPN's own addresses
    /// are kept in the tunnel before a network that has them too is admitted.
    ///
    /// # Errors
    /// When they cannot be read, or a routing rule or the firewall's rules cannot be set.
    pub fn follow_networks(&self, container: &Container) -> Result<(), Failure> {
        let networks = Networks::find(container)?;
        log::debug!("attached networks: {networks}");
        self.set_routes(container, &networks)?;
        // What cannot be written is owed, and keeps nobody from the networks.
        if !self.owes_dns()
            && let Err(error) = self.reclaim_dns(container)
        {
            log::warn!("DNS: {error}");
            self.owes_dns.store(true, Ordering::Relaxed);
        }
        self.kill_switch.attach(networks.attached, networks.local)?;
        Ok(())
    }

    /// What an attached network's name server is asked leaves by that network.
    fn reclaim_dns(&self, container: &Container) -> Result<(), FileError> {
        if self.dns.is_empty() {
            return Ok(());
        }
        let servers: Vec<IpAddr> = self.dns.iter().copied().map(IpAddr::V4).collect();
        let search = container.settings.dns.search();
        let others = resolv_conf::reclaim(Path::new(paths::RESOLV_CONF), &servers, search)?;
        if !others.is_empty() {
            log::warn!(
                "DNS: {} was put into /etc/resolv.conf by somebody else, and is taken out again",
                others.join(", ")
            );
        }
        Ok(())
    }

    /// Whether packets find into it.
    pub fn way_in(&self) -> Arc<WayIn> {
        Arc::clone(&self.way_in)
    }

    /// Those inside who can say whether it carries.
    pub fn witnesses(&self) -> Witnesses {
        trial::witnesses(&self.joined)
    }

    /// Asks the targets of `HEALTHCHECK_PING_TARGET` through the tunnel.
    pub fn prober(&self, container: &Container) -> Prober {
        let servers = if self.dns.is_empty() {
            name_servers::parse(
                &resolv_conf::original(Path::new(paths::RESOLV_CONF)).unwrap_or_default(),
            )
        } else {
            NameServers {
                servers: self.dns.iter().copied().map(NameServer::Direct).collect(),
                ..NameServers::default()
            }
        };
        Prober::new(
            paths::INTERFACE,
            &container.settings.probing.targets,
            servers,
        )
    }

    /// Says that and how the tunnel is up, and what keeps it from working.
    pub fn announce(&self, container: &mut Container) {
        match show::for_people(&container.stop) {
            Ok(text) => text
                .lines()
                .filter(|line| !line.is_empty())
                .for_each(|line| log::info!("{line}")),
            Err(error) => log::warn!("wg show: {error}"),
        }
        self.publish(container);
        // Before it is said, for those who ask for the status when they see the line.
        container.reporter.enter(State::Connected, None);
        log::info!("WireGuard successfully started");
        announce_firewall(container, self.kill_switch.sealing());
        if container.settings.gateway.is_some() && !sysctl::forwards() {
            log::warn!(
                "FWD_IFACE is set but nothing is forwarded: add `sysctls: [net.ipv4.ip_forward=1]`"
            );
        }
    }

    /// Tells hooks and the status which server this is.
    pub fn publish(&self, container: &mut Container) {
        let joined = &self.joined;
        let (cn, ip) = (joined.server.cn.clone(), joined.server.ip.to_string());
        let local_ip = joined.registration.peer_ip.to_string();
        for (name, value) in [
            ("VPN_LOCATION", &joined.location),
            ("VPN_SERVER_CN", &cn),
            ("VPN_SERVER_IP", &ip),
            ("VPN_LOCAL_IP", &local_ip),
        ] {
            container.set_env(name, value);
        }
        // That of another tunnel says nothing of this one.
        container.unset_env("VPN_EXIT_IP");
        container.reporter.update(|status| {
            status.exit = None;
            status.exit_error = None;
            status.location = Some(joined.location.clone());
            status.server = Some(status::ConnectedServer {
                cn,
                ip,
                endpoint: joined.endpoint().to_string(),
            });
            status.local_ip = Some(local_ip);
        });
    }

    /// Leaves nothing of a first tunnel that has never carried anything.
    fn undo(&self, container: &Container) {
        if let Err(error) = self.kill_switch.forget_tunnel() {
            log::warn!("{error}; it is tried again");
        }
        self.take_down();
        container.reporter.update(|status| status.dns_error = None);
    }

    /// Takes the interface and all that belongs to it away; goes on whatever fails, and cannot be
    /// interrupted.
    pub fn take_down(&self) {
        self.remove_interface();
        restore_name_servers();
    }

    /// The same, but names are looked up by the VPN's name servers or not at all: another tunnel is
    /// to follow, and the former name servers may be in a network that is open.
    fn remove_interface(&self) {
        hung::end();
        let conf = Path::new(paths::WG_CONF);
        let down = |stop: &CancellationToken| self.wg_quick.down(conf, stop);
        match show::exists().then(|| CancellationToken::within(DOWN_TIMEOUT, down)) {
            None | Some(Ok(())) => {}
            Some(Err(error)) if error.is_interrupted() => log::warn!(
                "wg-quick down takes too long; {} is removed without it",
                paths::INTERFACE
            ),
            Some(Err(error)) => log::warn!("wg-quick down: {error}"),
        }
        if let Err(error) = leftovers::remove(&CancellationToken::never()) {
            log::warn!("removing the tunnel: {error}");
        }
    }
}

/// Makes room for a tunnel: takes away what an earlier life left, and returns the number that ours
/// can have as its mark and table. Beside another tunnel our own packets go past it from now on.
///
/// # Errors
/// When an interface of our name is somebody else's, or `ip` fails.
pub fn make_room() -> Result<u32, Failure> {
    let uninterrupted = CancellationToken::never();
    let mark = remove_leftovers()?;
    routing_rules::apply(&routing_rules::rules(&[], &[], &[], mark), &uninterrupted)?;
    Ok(mark)
}

/// Takes away what an earlier life, or a wg-quick that was interrupted, left of the tunnel: the
/// interface, routing rules, our resolv.conf. Returns the number that a tunnel can have as its mark
/// and table.
///
/// # Errors
/// As [`make_room`].
pub fn remove_leftovers() -> Result<u32, Failure> {
    restore_name_servers();
    Ok(leftovers::remove(&CancellationToken::never())?)
}

/// Puts back the name servers that an earlier life has replaced.
pub fn restore_name_servers() {
    if let Err(error) = resolv_conf::restore(Path::new(paths::RESOLV_CONF)) {
        log::warn!("DNS: {error}");
    }
}

fn dns_servers<A>(wanted: &VpnDns, of_registration: &[A]) -> Vec<Ipv4Addr>
where
    A: Copy + Into<Ipv4Addr>,
{
    match wanted {
        VpnDns::Unchanged => Vec::new(),
        VpnDns::Custom { servers, .. } if !servers.is_empty() => servers.clone(),
        // resolv.conf takes three; the original took two.
        VpnDns::Custom { .. } | VpnDns::Pia => of_registration
            .iter()
            .take(2)
            .copied()
            .map(Into::into)
            .collect(),
    }
}

/// Says whether untunnelled traffic is dropped.
fn announce_firewall(container: &Container, sealing: Sealing) {
    if !container.settings.firewall {
        log::warn!(
            "FIREWALL=0: there is no kill switch; traffic leaves outside the tunnel whenever it \
             is down"
        );
    } else if let Sealing::WithoutIpv6(why) = sealing {
        log::error!("{why}");
    } else {
        log::info!("Firewall enabled: untunnelled traffic is dropped");
    }
}

fn wg_quick(container: &Container, kill_switch: &KillSwitch) -> WgQuick {
    let (private_bin, legacy) = kill_switch.with(|firewall| {
        (
            firewall.private_bin_needed(),
            firewall.backend() == Backend::Legacy,
        )
    });
    WgQuick {
        environment: container.environment(),
        private_bin: private_bin.then(|| paths::PRIVATE_BIN.to_owned()),
        legacy,
        allow_missing_rules: container.settings.allow_missing_iptables_rules,
    }
}

fn add_qdisc(qdisc: &str, stop: &CancellationToken) {
    let words = ["qdisc", "add", "root", "dev", paths::INTERFACE];
    let command = Command::new("tc", words.into_iter().chain(qdisc.split_whitespace()));
    match command.run(stop) {
        Ok(_) => log::info!("Added qdisc to {}: {qdisc}", paths::INTERFACE),
        Err(error) => log::warn!("QDISC={qdisc}: {error}; going on without"),
    }
}
