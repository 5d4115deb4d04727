//! The thin layer under everything: commands, files, signals, the request to stop.

pub mod backoff;
pub mod cancellation;
pub mod capabilities;
pub mod command;
pub mod files;
pub mod interface_name;
pub mod log_output;
pub mod paths;
pub mod secret;
pub mod signals;
