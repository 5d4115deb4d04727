//! The forwarded port: had, told to others, kept, lost and had again.

mod clients;
mod fatal;
mod healing;
mod owed;
mod persistence;
mod port_clients;
mod reach;
mod told;

use harness::world::World;
use harness::world::network::BEHIND;
use harness::world::recipe::Recipe;

use crate::PROGRAM;

/// A container that has a port forwarded, refreshes it every second, and says what its hooks are
/// told.
fn forwarding(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "nl_amsterdam")
        .env("PORT_FORWARDING", "1")
        .env("PORT_REBIND_INTERVAL", "1")
        .env("PORT_SCRIPT", "echo up")
        .env("PORT_DOWN_SCRIPT", "echo down")
}

/// A gateway, so that its rules are looked at, too.
fn gateway(world: &World) -> Recipe {
    forwarding(world)
        .env("FWD_IFACE", "eth1")
        .env("PF_DEST_IP", BEHIND.to_string())
}
