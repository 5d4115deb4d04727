//! The operating system, as the rest of the program needs it: commands, files, signals,
//! cancellation. Knows nothing of VPNs.

pub mod backoff;
pub mod cancellation;
pub mod capabilities;
pub mod command;
pub mod core_dumps;
pub mod docker;
pub mod fed_program;
pub mod files;
pub mod generic_netlink;
pub mod heap;
pub mod interface_address;
pub mod interface_name;
pub mod invisible;
pub mod log_output;
mod masking;
pub mod netlink;
pub mod network_table;
pub mod nf_tables;
pub mod orphans;
pub mod parallel;
pub mod paths;
pub mod program_text;
pub mod readiness;
pub mod route;
pub mod routing_policy;
pub mod secret;
pub mod shared_files;
pub mod signals;
pub mod tcp_connections;
pub mod uptime;
