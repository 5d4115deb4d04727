//! Every environment variable, once, as typed by the user.
//!
//! Values that do not parse are kept here with their reason; [`super::Settings`] then takes the default and warns.

use serde::Deserialize;

use super::values::{Flag, Lenient, Text};

/// Declares the variables: the field's name in upper case is the variable's name.
macro_rules! variables {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ty,)+) => {
        /// The environment variables of the program, `None` where unset or empty.
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub struct Variables {
            $($(#[doc = $doc])+ pub $field: Option<$kind>,)+
        }

        /// The names of all variables, in lower case, in the order of the contract.
        pub const NAMES: &[&str] = &[$(stringify!($field)),+];

        /// The first line of each variable's description, for `--help` and the README's test.
        pub const DESCRIPTIONS: &[&[&str]] = &[$(&[$($doc),+]),+];
    };
}

variables! {
    /// Location ids in order of preference, or `auto` for the lowest latency; empty prints all locations.
    loc: Text,
    /// PIA username.
    user: Text,
    /// PIA password.
    pass: Text,
    /// File with the username; wins over `USER` when readable.
    user_file: Text,
    /// File with the password; wins over `PASS` when readable.
    pass_file: Text,
    /// Address of a manually chosen server; needs `PIA_CN` and `PIA_PORT` too.
    pia_ip: Lenient<std::net::Ipv4Addr>,
    /// Common name of a manually chosen server.
    pia_cn: Text,
    /// API port of a manually chosen server, usually 1337.
    pia_port: Lenient<u16>,
    /// 1: use only servers whose public address does not rotate.
    stable_ip: Lenient<Flag>,
    /// Token of a dedicated IP; `LOC` is ignored.
    pia_dip_token: Text,
    /// Address of a meta server to use instead of PIA's API hosts; needs `META_CN` too.
    meta_ip: Lenient<std::net::Ipv4Addr>,
    /// Common name of the meta server.
    meta_cn: Text,
    /// Port of the meta server.
    meta_port: Lenient<u16>,
    /// IPv4 ranges that are reached outside the tunnel.
    local_network: Text,
    /// WireGuard's persistent keepalive in seconds; 0 is off.
    keepalive: Lenient<u16>,
    /// MTU of wg0; wg-quick chooses one when unset.
    mtu: Lenient<u32>,
    /// DNS servers instead of PIA's; 0 leaves the container's DNS alone.
    vpndns: Text,
    /// 1: have a port forwarded.
    port_forwarding: Lenient<Flag>,
    /// Where the forwarded port is written.
    port_file: Text,
    /// 1: remove that file at start and at exit.
    port_file_cleanup: Lenient<Flag>,
    /// 1: keep the same port over restarts, for up to two months.
    port_persist: Lenient<Flag>,
    /// 1: a lost forwarded port is a fatal error.
    port_fatal: Lenient<Flag>,
    /// Command line run with the port appended whenever a port is forwarded.
    port_script: Text,
    /// Command line run with the port appended whenever a port is withdrawn.
    port_down_script: Text,
    /// Local port to which connections to the forwarded port are redirected.
    port_redirect: Lenient<u16>,
    /// Seconds between refreshes of the forwarded port.
    port_rebind_interval: Lenient<u64>,
    /// User id that owns the files under `/pia-shared`.
    puid: Lenient<u32>,
    /// Group id that owns the files under `/pia-shared`.
    pgid: Lenient<u32>,
    /// File mode mask, in octal, for the files under `/pia-shared`.
    umask: Lenient<super::values::Mask>,
    /// 0: no kill switch.
    firewall: Lenient<Flag>,
    /// 1: exit on a fatal error instead of staying, sealed, until stopped.
    exit_on_fatal: Lenient<Flag>,
    /// Command line run when a fatal error occurs.
    fatal_script: Text,
    /// Gateway mode: the interface whose traffic is forwarded into the tunnel.
    fwd_iface: Text,
    /// Gateway mode: where the forwarded port leads.
    pf_dest_ip: Lenient<std::net::Ipv4Addr>,
    /// Command line run before anything is set up, with the network still open.
    pre_up: Text,
    /// Command line run when the tunnel is up.
    post_up: Text,
    /// Command line run before the tunnel is taken down.
    pre_down: Text,
    /// Command line run after the tunnel was taken down.
    post_down: Text,
    /// Command line run before a reconnect.
    pre_reconnect: Text,
    /// Command line run after a reconnect.
    post_reconnect: Text,
    /// 1: the health check pings through the tunnel.
    active_healthchecks: Lenient<Flag>,
    /// Hosts to ping; any one answering is enough.
    healthcheck_ping_target: Text,
    /// Seconds to wait for an answer, for all targets together.
    healthcheck_ping_timeout: Lenient<u64>,
    /// 0: legacy iptables; 1: nf_tables; unset: nf_tables if it works.
    nftables: Lenient<Flag>,
    /// 1: skip those rules of wg-quick that the kernel has no module for.
    allow_missing_iptables_rules: Lenient<Flag>,
    /// 1: reconnect when the endpoint no longer responds.
    reconnect: Lenient<Flag>,
    /// Seconds between probes of the endpoint.
    monitor_interval: Lenient<u64>,
    /// Failed probes in a row after which the endpoint counts as unresponsive.
    monitor_retries: Lenient<u32>,
    /// Queueing discipline for wg0, as `tc qdisc add root dev wg0` takes it.
    qdisc: Text,
    /// Local ports that wg0 listens on in turn.
    cycle_ports: Text,
    /// Seconds for each of `CYCLE_PORTS`.
    cycle_interval: Lenient<u64>,
    /// Retries of a transient failure of PIA's API.
    curl_retry: Lenient<u32>,
    /// Seconds between those retries.
    curl_retry_delay: Lenient<u64>,
    /// Seconds for all tries of a request together.
    curl_max_time: Lenient<u64>,
    /// Anything: debug logging.
    debug: Text,
    /// Log filter in the syntax of Rust's env_logger; wins over `DEBUG`.
    rust_log: Text,
    /// User-space WireGuard that wg-quick starts where the kernel has none.
    wg_quick_userspace_implementation: Text,
    /// PIA's certificate authority.
    pia_ca_file: Text,
    /// Public key of the server list's signature.
    pia_serverlist_key_file: Text,
}

/// Variables whose values must never be shown.
pub const SECRETS: &[&str] = &["user", "pass", "pia_dip_token"];

/// Variables whose values are the user's shell code, which may hold secrets of theirs.
pub const SHELL_CODE: &[&str] = &[
    "pre_up",
    "post_up",
    "pre_down",
    "post_down",
    "pre_reconnect",
    "post_reconnect",
    "port_script",
    "port_down_script",
    "fatal_script",
];
