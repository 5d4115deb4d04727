//! wireguard-pia: joins Private Internet Access over WireGuard and lends its network to other
//! containers.
//!
//! # The house
//!
//! `lifecycle` is the story of a container's life, one line a step. What it is told with:
//! `container` (environment, settings, hooks, status), `kill_switch` (the policy in force),
//! `connect` (from an account to a registration), `link` (the tunnel that stands on one),
//! `supervisor` (the loop while it stands, with its long tasks), `failure` (what a step's failure
//! calls for). Below are the capabilities, which do not know each other: `pia` (the API), `tunnel`
//! (wg0 and wg-quick), `firewall`, `underlay` (the network below the tunnel), `probe`, `hooks`,
//! `status`; and below them `system`. Arrows only point down, which `tests/architecture.rs` holds
//! to account. Beside the story stand the other verbs: `commands`, `doctor`, `healthcheck`,
//! `status_command`.
//!
//! - **Decide, then act.** The rule set, the next server, whether a rebind is due: pure functions,
//!   time included.
//! - **Every wait takes a [`CancellationToken`](system::cancellation::CancellationToken)**: a pause ends, a child's process group
//!   gets SIGTERM, a socket is shut down, and the story unwinds. So a stop is obeyed within a
//!   second, whatever is under way.
//! - **The main loop alone changes the tunnel.** Long tasks report to it over one channel.
//! - **The firewall is a value**, rendered whole and loaded in one step a family; nothing adds and
//!   removes single rules.
//! - **Untunnelled traffic of ours** carries the tunnel's mark, and each rule for it names the
//!   exact destination too, as others in the same network can set the mark.

pub mod cli;
mod commands;
mod connect;
mod container;
mod failure;
mod firewall;
mod hooks;
mod lifecycle;
mod pia;
mod port_forward;
pub mod settings;
mod status;
mod system;
mod tunnel;
mod underlay;
mod wireguard;
