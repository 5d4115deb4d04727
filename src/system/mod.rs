//! The thin layer under everything: commands, files, signals, the request to stop.

pub mod command;
pub mod files;
pub mod paths;
pub mod secret;
pub mod signals;
pub mod stop;
