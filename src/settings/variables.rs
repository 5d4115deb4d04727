//! Every environment variable, once, as typed by the user: what is meant, [`super::Settings`] says.

use serde::Deserialize;

/// Declares the variables: the field's name in upper case is the variable's name.
macro_rules! variables {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// The environment variables of the program as typed, `None` where unset or empty.
        #[derive(Debug, Default, Deserialize)]
        pub struct Variables {
            $($(#[doc = $doc])+ #[serde(default)] pub $field: Option<String>,)+
        }

        /// The names of all variables, in lower case, in the order of the contract.
        pub const NAMES: &[&str] = &[$(stringify!($field)),+];

        /// The first line of each variable's description, for `--help` and the README's test.
        pub const DESCRIPTIONS: &[&[&str]] = &[$(&[$($doc),+]),+];
    };
}

variables! {
    /// Location ids in order of preference, or `auto` for the lowest latency; empty prints all
    /// locations.
    loc,
    /// PIA username.
    user,
    /// PIA password.
    pass,
    /// File with the username; wins over `USER` when readable.
    user_file,
    /// File with the password; wins over `PASS` when readable.
    pass_file,
    /// Address of a manually chosen server; needs `PIA_CN` and `PIA_PORT` too.
    pia_ip,
    /// Common name of a manually chosen server.
    pia_cn,
    /// API port of a manually chosen server, usually 1337.
    pia_port,
    /// 1: use only servers whose public address does not rotate.
    stable_ip,
    /// Token of a dedicated IP; `LOC` is ignored.
    pia_dip_token,
    /// Address of a meta server to use instead of PIA's API hosts; needs `META_CN` too.
    meta_ip,
    /// Common name of the meta server.
    meta_cn,
    /// Port of the meta server.
    meta_port,
    /// IPv4 ranges that are reached outside the tunnel.
    local_network,
    /// WireGuard's persistent keepalive in seconds; 0 is off.
    keepalive,
    /// MTU of wg0; wg-quick chooses one when unset.
    mtu,
    /// DNS servers instead of PIA's; 0 leaves the container's DNS alone.
    vpndns,
    /// 1: have a port forwarded.
    port_forwarding,
    /// Where the forwarded port is written.
    port_file,
    /// 1: remove that file at start and at exit.
    port_file_cleanup,
    /// 1: keep the same port over restarts, for up to two months.
    port_persist,
    /// 1: a lost forwarded port is a fatal error.
    port_fatal,
    /// Command line run with the port appended whenever a port is forwarded.
    port_script,
    /// Command line run with the port appended whenever a port is withdrawn.
    port_down_script,
    /// Local port to which connections to the forwarded port are redirected.
    port_redirect,
    /// Seconds between refreshes of the forwarded port.
    port_rebind_interval,
    /// User id that owns the files under `/pia-shared`.
    puid,
    /// Group id that owns the files under `/pia-shared`.
    pgid,
    /// File mode mask, in octal, for the files under `/pia-shared`.
    umask,
    /// 0: no kill switch.
    firewall,
    /// 1: exit on a fatal error instead of staying, sealed, until stopped.
    exit_on_fatal,
    /// Command line run when a fatal error occurs.
    fatal_script,
    /// Gateway mode: the interface whose traffic is forwarded into the tunnel.
    fwd_iface,
    /// Gateway mode: where the forwarded port leads.
    pf_dest_ip,
    /// Command line run before anything is set up, with the network still open.
    pre_up,
    /// Command line run when the tunnel is up.
    post_up,
    /// Command line run before the tunnel is taken down.
    pre_down,
    /// Command line run after the tunnel was taken down.
    post_down,
    /// Command line run before a reconnect.
    pre_reconnect,
    /// Command line run after a reconnect.
    post_reconnect,
    /// 1: the health check pings through the tunnel.
    active_healthchecks,
    /// Hosts to ping; any one answering is enough.
    healthcheck_ping_target,
    /// Seconds to wait for an answer, for all targets together.
    healthcheck_ping_timeout,
    /// 0: legacy iptables; 1: nf_tables; unset: nf_tables if it works.
    nftables,
    /// 1: skip those rules of wg-quick that the kernel has no module for.
    allow_missing_iptables_rules,
    /// 1: reconnect when the endpoint no longer responds.
    reconnect,
    /// Seconds between probes of the endpoint.
    monitor_interval,
    /// Failed probes in a row after which the endpoint counts as unresponsive.
    monitor_retries,
    /// Queueing discipline for wg0, as `tc qdisc add root dev wg0` takes it.
    qdisc,
    /// Local ports that wg0 listens on in turn.
    cycle_ports,
    /// Seconds for each of `CYCLE_PORTS`.
    cycle_interval,
    /// Retries of a transient failure of PIA's API.
    curl_retry,
    /// Seconds between those retries.
    curl_retry_delay,
    /// Seconds for all tries of a request together.
    curl_max_time,
    /// Anything: debug logging.
    debug,
    /// Log filter in the syntax of Rust's env_logger; wins over `DEBUG`.
    rust_log,
    /// User-space WireGuard that wg-quick starts where the kernel has none.
    wg_quick_userspace_implementation,
    /// PIA's certificate authority.
    pia_ca_file,
    /// Public key of the server list's signature.
    pia_serverlist_key_file,
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
