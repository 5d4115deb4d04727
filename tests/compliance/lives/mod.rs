//! All lives, a file for each chapter of the original's README.

mod account;
mod by_hand;
mod dns;
mod fatal;
mod firewall;
mod hooks;
mod interface;
mod lan;
mod locations;
mod monitor;
mod ports;
mod start;

use crate::life::Life;

pub fn all() -> Vec<Life> {
    let chapters = [
        monitor::lives(),
        start::lives(),
        locations::lives(),
        account::lives(),
        lan::lives(),
        dns::lives(),
        firewall::lives(),
        interface::lives(),
        ports::lives(),
        hooks::lives(),
        fatal::lives(),
        by_hand::lives(),
    ];
    chapters.into_iter().flatten().collect()
}
