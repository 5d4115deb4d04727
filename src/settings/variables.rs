//! Every environment variable, once: its name, its default, what users are told of it, and how it
//! is read, which is the type after the colon.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Deserialize;

use super::allowed_sources::AllowedSources;
use super::client_values::{HookBody, HookHeader, HookUrl, MediaType};
use super::dns::VpnDns;
use super::local_network::{LocalNetwork, LocalPorts};
use super::port_file::PortFile;
use super::read::{Read, read};
use super::values::{
    InterfaceName, Interval, ListenAddress, ModeMask, Mtu, PassedOn, PingTarget, PortNumber,
    Seconds, ShellCode, Times,
};
use super::variable::Variable;
use super::warning::Warning;
use crate::port_clients::{ClientUrl, HttpUrl, Method};
use crate::system::paths;
use crate::system::secret::Secret;

/// Declares the variables. An entry's name in upper case is the variable's name. `= "5"` is its
/// default, read as a value would be; `, unset: "words"` says what happens without a value.
macro_rules! variables {
    ($(
        $(#[doc = $documentation:literal])+
        $name:ident: $kind:ty $(= $default:expr)? $(, unset: $unset:literal)?;
    )+) => {
        /// The variables as typed, for envy; `None` where unset or empty.
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct Texts {
            $($name: Option<String>,)+
        }

        /// The variables as read.
        #[derive(Debug)]
        pub struct Variables {
            $($(#[doc = $documentation])+ pub $name: $kind,)+
        }

        /// Each variable's entry, under the name of its field in [`Variables`].
        #[allow(non_upper_case_globals, reason = "they are named as the fields are")]
        pub mod entry {
            use super::*;

            $(
                $(#[doc = $documentation])+
                pub const $name: Variable = Variable {
                    name: {
                        const BYTES: [u8; stringify!($name).len()] = upper(stringify!($name));
                        text(&BYTES)
                    },
                    default: first(&[$($default)?]),
                    unset: first(&[$($unset)?]),
                    documentation: concat!($($documentation),+).trim_ascii(),
                    sensitivity: <$kind as Read>::SENSITIVITY,
                };
            )+
        }

        /// All variables, in the order of the README.
        pub const ALL: &[Variable] = &[$(entry::$name),+];

        impl Variables {
            /// Reads all texts; a warning for each that could not be taken as it was.
            pub(super) fn read(texts: &Texts, warnings: &mut Vec<Warning>) -> Self {
                Self {
                    $($name: read(texts.$name.as_deref(), &entry::$name, warnings),)+
                }
            }
        }
    };
}

/// The README's table of all variables.
pub fn table() -> String {
    let mut table = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for variable in ALL {
        table.push_str(&variable.table_row());
        table.push('\n');
    }
    table
}

const fn upper<const LENGTH: usize>(name: &str) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes.copy_from_slice(name.as_bytes());
    bytes.make_ascii_uppercase();
    bytes
}

const fn text(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

const fn first(words: &[&'static str]) -> Option<&'static str> {
    match words {
        [first, ..] => Some(first),
        [] => None,
    }
}

variables! {
    /// Location ids in order of preference, for example `swiss ca_ontario`. Names work, too, and
    /// countries with one location; put a comma between names of several words: `CA Toronto, US
    /// East`. `auto` takes the location with the lowest latency, `fastest:swiss nl_amsterdam` the
    /// nearest of these. When empty, all locations are printed and the container exits
    loc: Option<String>;
    /// PIA username; without it and `USER_FILE`, a secret named `pia_user` is used: of Docker's and
    /// Kubernetes' in `/run/secrets`, or of systemd's `LoadCredential`
    user: Option<Secret>;
    /// PIA password; without it and `PASS_FILE`, a secret named `pia_pass` is used likewise
    pass: Option<Secret>;
    /// File with the username, for example a Docker secret; wins over `USER` when it can be read
    user_file: Option<PathBuf>;
    /// File with the password; wins over `PASS` when it can be read
    pass_file: Option<PathBuf>;
    /// Address of one server of your choice. With `PIA_CN` and `PIA_PORT` it is used instead of
    /// `LOC`
    pia_ip: Option<Ipv4Addr>;
    /// Common name of the server at `PIA_IP`
    pia_cn: Option<String>;
    /// API port of the server at `PIA_IP`, usually `1337`
    pia_port: Option<PortNumber>;
    /// `1`: only servers whose public address stays the same from connection to connection
    stable_ip: bool = "0";
    /// Token of a dedicated IP; `LOC` is not used then
    pia_dip_token: Option<Secret>;
    /// Address of a meta server through which PIA's account API and server list are reached, where
    /// the usual hosts are blocked
    meta_ip: Option<Ipv4Addr>;
    /// Common name of that meta server
    meta_cn: Option<String>;
    /// Port of that meta server; `8080` often works too
    meta_port: PortNumber = "443";
    /// Ranges that are reached outside the tunnel, both ways, for example `192.168.1.0/24`.
    /// `192.168.1.0/255.255.255.0` and `10/8` work too. An IPv4 range wider than `/8` is left out,
    /// and a public IPv6 one wider than `/48`. An entry may say less: `in:192.168.1.0/24`,
    /// `192.168.1.10:8096/tcp`, `out:192.168.1.5:53/udp` ([the LAN](docs/lan.md)). An IPv6 range,
    /// such as `fd00::/8`, opens IPv6 to it and to attached networks
    local_network: LocalNetwork;
    /// Ports that `LOCAL_NETWORK` and attached networks reach here, for example `8080 9091/tcp
    /// 6881-6889/udp`; `0` for none. An entry of `LOCAL_NETWORK` with ports of its own has those
    local_ports: LocalPorts, unset: "all";
    /// WireGuard's persistent keepalive, in seconds; `25` suits most networks with address
    /// translation. `0` is off
    keepalive: Option<u16>;
    /// MTU of the tunnel interface. Unset, it is that of the link, at most 1500, less 80, and less
    /// where the way to the server turns out to be narrower
    mtu: Option<Mtu>, unset: "fits the way";
    /// DNS servers while connected, and search domains beside them. `0` leaves the container's DNS
    /// as it is; Docker's own resolver may then ask from the host, outside the tunnel. Servers
    /// other than PIA's learn what you look up
    vpndns: VpnDns, unset: "PIA's";
    /// `1`: have a port forwarded. Not every location offers it
    port_forwarding: bool = "0";
    /// Where the forwarded port is written. If it names a folder, the file is `port.dat` in it;
    /// `%h` stands for the host name
    port_file: PortFile = paths::PORT_FILE;
    /// `1`: remove the port file at start and at exit
    port_file_cleanup: bool = "0";
    /// `1`: keep the same port over restarts, for up to two months. Containers that share `/pia`
    /// have one each
    port_persist: bool = "0";
    /// `1`: a port that stays lost is a fatal error
    port_fatal: bool = "0";
    /// Command line that is run with the port appended whenever a port is forwarded, also after a
    /// reconnect. The image has
    /// [ready-made ones](#port-forwarding)
    port_script: Option<ShellCode>;
    /// Command line that is run with the port appended whenever a port is withdrawn
    port_down_script: Option<ShellCode>;
    /// Programs that are told the forwarded port, for example `qbittorrent slskd`, told again after
    /// their restart, and asked whether they took it: `qbittorrent`, `transmission`, `deluge`,
    /// `rtorrent`, `slskd`, `http`. [More](docs/port-clients.md)
    port_clients: Vec<String>;
    /// Seconds between looks at a client that has the port
    port_client_interval: Interval = "60";
    /// Where qBittorrent's web interface is
    qbittorrent_url: HttpUrl = "http://127.0.0.1:8080";
    /// Its user name
    qbittorrent_user: Option<Secret>, unset: "`admin`";
    /// File with it, which wins when it can be read
    qbittorrent_user_file: Option<PathBuf>;
    /// Its password; none is needed where it lets local clients in without
    qbittorrent_pass: Option<Secret>;
    /// File with it, which wins when it can be read
    qbittorrent_pass_file: Option<PathBuf>;
    /// Where Transmission's RPC is
    transmission_url: HttpUrl = "http://127.0.0.1:9091";
    /// Its user name
    transmission_user: Option<Secret>;
    /// File with it, which wins when it can be read
    transmission_user_file: Option<PathBuf>;
    /// Its password
    transmission_pass: Option<Secret>;
    /// File with it, which wins when it can be read
    transmission_pass_file: Option<PathBuf>;
    /// Where Deluge's web interface is
    deluge_url: HttpUrl = "http://127.0.0.1:8112";
    /// The web interface's password
    deluge_pass: Option<Secret>, unset: "`deluge`";
    /// File with it, which wins when it can be read
    deluge_pass_file: Option<PathBuf>;
    /// Where rTorrent's XML-RPC is: `scgi://ADDRESS:PORT`, the path of a socket, or the URL of a
    /// web server before it
    rtorrent_url: ClientUrl = "scgi://127.0.0.1:5000";
    /// The web server's user name
    rtorrent_user: Option<Secret>;
    /// File with it, which wins when it can be read
    rtorrent_user_file: Option<PathBuf>;
    /// The web server's password
    rtorrent_pass: Option<Secret>;
    /// File with it, which wins when it can be read
    rtorrent_pass_file: Option<PathBuf>;
    /// Where slskd's web interface is
    slskd_url: HttpUrl = "http://127.0.0.1:5030";
    /// A key of slskd's configuration with the role `administrator`
    slskd_api_key: Option<Secret>;
    /// File with it, which wins when it can be read
    slskd_api_key_file: Option<PathBuf>;
    /// For the client `http`: where a request is sent that tells the port, for which `{{PORT}}`
    /// stands here and in the body
    port_http_url: Option<HookUrl>;
    /// `POST`, `PUT` or `PATCH`
    port_http_method: Method = "POST";
    /// What is sent
    port_http_body: HookBody = r#"{"port":{{PORT}}}"#;
    /// The media type of that
    port_http_type: MediaType = "application/json";
    /// Where a GET tells which port it has: the answer has to have the number in it
    port_http_check_url: Option<HookUrl>;
    /// A header that is sent along, `Name: value`, for example with a key
    port_http_header: Option<HookHeader>;
    /// File with it, which wins when it can be read
    port_http_header_file: Option<PathBuf>;
    /// Local port to which connections to the forwarded port are redirected, tcp and udp, for
    /// programs whose port cannot be changed
    port_redirect: Option<PortNumber>;
    /// Seconds between refreshes of the forwarded port, 900 at most
    port_rebind_interval: Interval = "900";
    /// User id that owns the files in `/pia-shared`
    puid: Option<u32>, unset: "`0`";
    /// Group id that owns the files in `/pia-shared`
    pgid: Option<u32>, unset: "`0`";
    /// File mode mask for the files in `/pia-shared`, in octal
    umask: ModeMask = "022";
    /// `0`: no kill switch, unless an anchor holds the network
    firewall: bool = "1";
    /// `1`: exit on a fatal error. Otherwise the container stays, unhealthy and with the kill
    /// switch closed, so that containers which share its network keep it
    exit_on_fatal: bool = "0";
    /// Command line that is run when a fatal error occurs
    fatal_script: Option<ShellCode>;
    /// Gateway mode: the interfaces whose traffic is forwarded into the tunnel
    fwd_iface: Vec<InterfaceName>;
    /// Gateway mode: the addresses and ranges that may use the tunnel. Otherwise all that come by
    /// those interfaces
    fwd_sources: AllowedSources;
    /// Gateway mode: `1` sends the others' name look-ups to the VPN's name server, whomever they
    /// ask
    fwd_dns: bool = "0";
    /// Gateway mode: the address to which the forwarded port leads
    pf_dest_ip: Option<Ipv4Addr>;
    /// Shell text that is run before anything is set up, with the network still open
    pre_up: Option<ShellCode>;
    /// Shell text that is run when the tunnel is up
    post_up: Option<ShellCode>;
    /// Shell text that is run before the tunnel is taken down
    pre_down: Option<ShellCode>;
    /// Shell text that is run after the tunnel was taken down
    post_down: Option<ShellCode>;
    /// Shell text that is run before a reconnect
    pre_reconnect: Option<ShellCode>;
    /// Shell text that is run after a reconnect
    post_reconnect: Option<ShellCode>;
    /// `1`: the health check also pings through the tunnel
    active_healthchecks: bool = "0";
    /// Hosts to ping; any one that answers is enough
    healthcheck_ping_target: Vec<PingTarget> = "www.privateinternetaccess.com 1.1.1.1";
    /// Seconds to wait for an answer, for all hosts together. More than `3` needs a longer
    /// `timeout` in the compose file's `healthcheck`, too
    healthcheck_ping_timeout: Interval = "3";
    /// `0`: do not ask PIA, through the tunnel, which address the world sees after each connect;
    /// one that is none of PIA's makes the container unhealthy
    exit_address_check: bool = "1";
    /// Where an HTTP server tells how things are, for example `:8000`: `/healthz`, `/status.json`,
    /// `/metrics` for Prometheus, and what gluetun's helpers ask. It can be reached from attached
    /// networks and `LOCAL_NETWORK`, never through the tunnel
    status_listen: Option<ListenAddress>, unset: "no server";
    /// File with a key that whoever asks the status server has to send (header `X-API-Key`); where
    /// it cannot be read there is no server. Unset, none is asked for
    status_key_file: Option<PathBuf>;
    /// `1`: `/metrics` tells the address that the world sees, too
    status_exit_address: bool = "0";
    /// `0`: the legacy iptables backend; `1`: nf_tables; unset: nf_tables where it works
    nftables: Option<bool>;
    /// `1`: leave out, with a warning, those rules of wg-quick that the kernel has no module for
    allow_missing_iptables_rules: bool = "0";
    /// `1`: reconnect, without taking the interface down, when the server no longer responds
    reconnect: bool = "0";
    /// Seconds between probes of the server; where packets are sent and nothing comes back, it is
    /// probed at once
    monitor_interval: Interval = "60";
    /// Failed probes in a row after which the server counts as unresponsive
    monitor_retries: Times = "3";
    /// Queueing discipline of the tunnel interface, as `tc qdisc add root dev wg0` takes it
    qdisc: Option<String>;
    /// Local ports that the tunnel uses in turn
    cycle_ports: Vec<PortNumber>;
    /// Seconds for each of `CYCLE_PORTS`
    cycle_interval: Interval = "180";
    /// Retries after a failure of PIA's API or of name servers that may pass
    curl_retry: u32 = "5";
    /// Seconds between those retries
    curl_retry_delay: Seconds = "5";
    /// Seconds for all tries of one request together; `0` is no limit
    curl_max_time: Seconds = "120";
    /// Anything: debug log. Secrets stay masked
    debug: Option<PassedOn>;
    /// Log filter, for example `debug`; wins over `DEBUG`. Its form is that of
    /// [env_logger](https://docs.rs/env_logger)
    rust_log: Option<PassedOn>;
    /// User-space WireGuard that wg-quick starts where the kernel has none
    wg_quick_userspace_implementation: Option<PassedOn>, unset: "`wireguard-go`";
    /// PIA's certificate authority
    pia_ca_file: PathBuf = paths::PIA_CA;
    /// Public key of the server list's signature
    pia_serverlist_key_file: PathBuf = paths::SERVER_LIST_KEY;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::variable::Sensitivity;

    #[test]
    fn names_are_as_users_type_them() {
        assert_eq!(entry::pia_ip.name, "PIA_IP");
        assert_eq!(entry::loc.documentation.lines().count(), 1);
    }

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        let texts = Texts::default();
        let mut warnings = Vec::new();
        let variables = Variables::read(&texts, &mut warnings);
        assert_eq!(warnings, []);
        assert_eq!(variables.meta_port, PortNumber(443));
        assert_eq!(variables.monitor_interval.0.as_secs(), 60);
        assert_eq!(variables.curl_max_time.0.as_secs(), 120);
        assert!(variables.firewall && !variables.reconnect);
    }

    #[test]
    fn what_must_not_be_shown_is_marked() {
        let of = |sensitivity| -> Vec<&str> {
            let marked = ALL.iter().filter(|entry| entry.sensitivity == sensitivity);
            marked.map(|entry| entry.name).collect()
        };
        assert_eq!(
            of(Sensitivity::Secret),
            [
                "USER",
                "PASS",
                "PIA_DIP_TOKEN",
                "QBITTORRENT_USER",
                "QBITTORRENT_PASS",
                "TRANSMISSION_USER",
                "TRANSMISSION_PASS",
                "DELUGE_PASS",
                "RTORRENT_USER",
                "RTORRENT_PASS",
                "SLSKD_API_KEY",
                "PORT_HTTP_BODY",
                "PORT_HTTP_HEADER"
            ]
        );
        assert_eq!(
            of(Sensitivity::ShellCode),
            [
                "PORT_SCRIPT",
                "PORT_DOWN_SCRIPT",
                "FATAL_SCRIPT",
                "PRE_UP",
                "POST_UP",
                "PRE_DOWN",
                "POST_DOWN",
                "PRE_RECONNECT",
                "POST_RECONNECT"
            ]
        );
    }
}
