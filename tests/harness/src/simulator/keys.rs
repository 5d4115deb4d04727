//! RSA keys of the real sizes.
//!
//! PIA's certificates and list signature are RSA, and making such keys takes seconds: they are
//! made once by `openssl`, next to the build's other products, and used by every later run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, thread};

/// Private keys in PEM (PKCS #8).
#[derive(Debug)]
pub struct Keys {
    /// The key of "PIA's" certificate authority, RSA-4096 as the real one.
    pub authority: String,
    /// Signs server lists.
    pub list: String,
    /// What `RegionsListPubKey.pem` holds.
    pub list_public: String,
    /// The key of every server's certificate: nothing here depends on there being several.
    pub leaf: String,
    /// Belongs to an authority that nobody trusts.
    pub stranger: String,
}

impl Keys {
    /// The keys, made now if this is the first run.
    pub fn shared() -> &'static Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        KEYS.get_or_init(|| {
            let directory = directory();
            fs::create_dir_all(&directory).expect("the build directory is writable");
            let lock = File::create(directory.join("lock")).expect("a lock file can be made");
            lock.lock().expect("a file can be locked");
            thread::scope(|scope| {
                for (name, bits) in [
                    ("authority", 4096),
                    ("list", 2048),
                    ("leaf", 2048),
                    ("stranger", 2048),
                ] {
                    let path = directory.join(name).with_extension("pem");
                    scope.spawn(move || generate(&path, bits));
                }
            });
            let read = |name: &str| {
                fs::read_to_string(directory.join(name)).expect("openssl wrote the key")
            };
            Self {
                authority: read("authority.pem"),
                list: read("list.pem"),
                list_public: openssl(&["pkey", "-pubout", "-in"], &directory.join("list.pem")),
                leaf: read("leaf.pem"),
                stranger: read("stranger.pem"),
            }
        })
    }
}

/// `target/test-keys`, wherever the target directory is.
fn directory() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    program
        .ancestors()
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name == "deps" || name == "examples")
        })
        .and_then(|deps| deps.ancestors().nth(2))
        .map_or_else(
            || env::temp_dir().join("wireguard-pia-test-keys"),
            |t| t.join("test-keys"),
        )
}

fn generate(path: &Path, bits: u32) {
    if path.exists() {
        return;
    }
    // A run that is killed here must not leave half a key under the final name.
    let draft = path.with_extension("new");
    let size = format!("rsa_keygen_bits:{bits}");
    openssl(
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", &size, "-out"],
        &draft,
    );
    fs::rename(&draft, path).expect("a file can be renamed in its directory");
}

fn openssl(arguments: &[&str], path: &Path) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .arg(path)
        .output()
        .expect("the simulator needs the openssl command: install openssl");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("openssl writes text")
}
