//! `cargo run --example manual -- DIR`: writes the manual pages and the shells' completions, from
//! the arguments that the program itself reads.
//! `cargo run --example manual -- --variables`: prints the README's table of variables.

use std::{env, error::Error, fs, path::PathBuf};

use clap_complete::{Shell, generate_to};

const NAME: &str = "wireguard-pia";

fn main() -> Result<(), Box<dyn Error>> {
    let argument = env::args_os()
        .nth(1)
        .ok_or("usage: manual DIR|--variables")?;
    if argument == "--variables" {
        print!("{}", wireguard_pia::settings::variables::table());
        return Ok(());
    }
    let folder = PathBuf::from(argument);
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(
        wireguard_pia::cli::command().version(env!("CARGO_PKG_VERSION")),
        &folder,
    )?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut wireguard_pia::cli::command(), NAME, &folder)?;
    }
    Ok(())
}
