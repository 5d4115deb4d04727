//! The program; everything is in the library, so that tests and examples can use it too.

fn main() -> std::process::ExitCode {
    wireguard_pia::cli::main()
}
