//! Paths and names that users, hooks and other programs rely on, in one place.

/// The WireGuard interface.
pub const INTERFACE: &str = "wg0";
/// The mark of the tunnel's own packets and of our untunnelled requests; also wg-quick's routing
/// table.
pub const FWMARK: u32 = 51820;
/// Marks a routing rule as ours, as ip-rule(8)'s `protocol`: what others have under our numbers
/// stays.
pub const RULE_PROTOCOL: u8 = 51;
/// The generated wg-quick configuration.
pub const WG_CONF: &str = "/etc/wireguard/wg0.conf";
/// What is kept across restarts.
pub const VOLUME: &str = "/pia";
/// The account token, kept across restarts.
pub const TOKEN: &str = "/pia/.token";
/// The port forwarding signature, kept with `PORT_PERSIST=1`.
pub const PORT_SIGNATURE: &str = "/pia/portsig.json";
/// The last verified server list, signature included.
pub const SERVER_LIST: &str = "/pia/servers.json";
/// Whose locks say which servers the containers with this volume are connected to.
pub const SERVER_LOCKS: &str = "/pia/servers.lock";
/// Where users mount `pre-up.sh` and its siblings.
pub const HOOK_SCRIPTS: &str = "/pia/scripts";
/// Working directory of hooks.
pub const WORKING_DIRECTORY: &str = "/scripts";
/// Where the forwarded port is written unless `PORT_FILE` says otherwise.
pub const PORT_FILE: &str = "/pia-shared/port.dat";
/// PIA's own certificate authority, unless `PIA_CA_FILE` names another.
pub const PIA_CA: &str = "/rsa_4096.crt";
/// The key of the server list, unless `PIA_SERVERLIST_KEY_FILE` names another.
pub const SERVER_LIST_KEY: &str = "/RegionsListPubKey.pem";
/// Name servers of the container: a bind mount that can be written but not replaced.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Files that need not survive a restart: status, lock, wg-quick's shell functions.
pub const RUN: &str = "/run/wireguard-pia";
/// Links to the chosen iptables, first in PATH where they are needed.
pub const PRIVATE_BIN: &str = "/run/wireguard-pia/bin";
/// The shell functions that make an unpatched wg-quick tolerant (read through `BASH_ENV`).
pub const WG_QUICK_ENV: &str = "/run/wireguard-pia/wg-quick.bash";
/// The running program's state, for `status` and `healthcheck`.
pub const STATUS: &str = "/run/wireguard-pia/status.json";
/// Held by the running program.
pub const LOCK: &str = "/run/wireguard-pia/lock";
/// Where the running program takes commands.
pub const CONTROL_SOCKET: &str = "/run/wireguard-pia/control.sock";
/// The choice of a server that a command made, and that is kept over restarts.
pub const KEPT_CHOICE: &str = "/pia/choice.json";
