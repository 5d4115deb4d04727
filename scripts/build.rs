//! Keeps out of the released program what it never reads, about a sixth of it.
//!
//! - Unwind tables. A panic ends the program at once, and its names are stripped, so that there is
//!   nothing to unwind. The compiler has no switch for it: the standard library comes with its
//!   tables.
//! - Relocations as a list: packed, they take a twentieth of the room. That needs glibc 2.36;
//!   linkers note it in the program, so that an older one says so.
//!
//! Only where both were tried: anywhere else the program is merely larger.

use std::path::PathBuf;
use std::process::Command;
use std::{env, error::Error, fs};

/// `INSERT` keeps the linker's own script, and adds to it.
const WITHOUT_TABLES: &str = "\
SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table .gcc_except_table.*) } }
INSERT AFTER .comment;
";

/// The first release whose loader reads packed relocations.
const PACKED_RELOCATIONS: (u32, u32) = (2, 36);

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=scripts/build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|text| text == value);
    let was_tried = is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64");
    if !is("PROFILE", "release") || !was_tried {
        return Ok(());
    }
    let script = PathBuf::from(env::var("OUT_DIR")?).join("without-tables.ld");
    fs::write(&script, WITHOUT_TABLES)?;
    println!(
        "cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}",
        script.display()
    );
    if env::var("HOST") == env::var("TARGET")
        && glibc().is_some_and(|version| version >= PACKED_RELOCATIONS)
    {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    Ok(())
}

/// The version of the C library here, which the program will be linked with.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
