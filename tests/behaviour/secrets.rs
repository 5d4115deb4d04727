//! Name, password, token and private key are in no argument list, no log, and no file that others
//! can read.

use harness::log_lines::UP;
use harness::simulator::account::{PASSWORD, USER};
use harness::waiting::SOON;
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::Recipe;

use crate::PROGRAM;

/// Where strace writes; the container's own files are looked for elsewhere.
const TRACE: &str = "/pia-shared/trace";
/// Where the program leaves files.
const FOLDERS: &str = "/pia /run /etc/wireguard /tmp /dev/shm /scripts";

/// "Username and password were visible in process lists" (docs/migration.md)
#[test]
fn no_argument_list_ever_holds_a_secret() {
    let world = World::new();
    let mut container = traced(&world).start();
    let first = Secrets::of_life(&container);
    container.stop();
    // The token is no longer good: another login, another key.
    world.pia.forget_tokens();
    let trace = trace(&container);
    container.restart();
    let second = Secrets::of_life(&container);
    container.stop();
    let traces = [trace, self::trace(&container)].concat();
    let executions: Vec<&str> = traces
        .lines()
        .filter(|line| line.contains("execve("))
        .collect();
    // Both lives were watched: the programs that are given keys are among those seen.
    for program in ["wg-quick", "\"setconf\"", "iptables-restore"] {
        assert!(
            executions
                .iter()
                .filter(|line| line.contains(program))
                .count()
                >= 2,
            "{program}"
        );
    }
    for line in executions {
        assert_eq!(first.among(line).or(second.among(line)), None, "{line}");
    }
    assert_ne!(first.token, second.token);
}

/// "Secrets stay masked" (README.md)
#[test]
fn no_log_ever_holds_a_secret() {
    let world = World::new();
    let hooks = ["PRE_UP", "POST_UP", "PRE_DOWN", "POST_DOWN"];
    let recipe = hooks
        .iter()
        .fold(life(&world), |recipe, hook| recipe.env(*hook, "echo here"));
    let mut container = recipe.env("DEBUG", "1").env("RUST_LOG", "trace").start();
    let first = Secrets::of_life(&container);
    container.stop();
    world.pia.forget_tokens();
    container.restart();
    let second = Secrets::of_life(&container);
    container.stop();
    let lines = container.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.text.contains("loading for V4"))
            && lines.iter().any(|line| line.text.contains("[#]"))
    );
    for line in lines {
        assert_eq!(
            first.among(&line.text).or(second.among(&line.text)),
            None,
            "{}",
            line.text
        );
    }
}

/// "`wg0.conf` was readable by every user" (docs/migration.md)
#[test]
fn no_file_that_others_can_read_holds_a_secret() {
    let world = World::new();
    let container = life(&world).env("PRE_UP", "LOC=swiss; OTHER=1").start();
    let secrets = Secrets::of_life(&container);
    assert_eq!(secrets.files_with_mode(&container, "/077"), "");
    // The same search finds them where they are kept.
    let kept = secrets.files_with_mode(&container, "-600");
    assert!(
        kept.contains("/pia/.token") && kept.contains("/etc/wireguard/wg0.conf"),
        "{kept}"
    );
    assert_eq!(
        (
            mode(&container, "/pia/.token"),
            mode(&container, "/etc/wireguard/wg0.conf")
        ),
        (0o600, 0o600)
    );
}

/// A file that is closed to others only after it was written was open for a moment.
#[test]
fn files_with_secrets_are_closed_to_others_from_the_first() {
    let world = World::new();
    let container = traced(&world).start();
    Secrets::of_life(&container);
    container.stop();
    let trace = trace(&container);
    for path in ["/pia/.token", "/etc/wireguard/wg0.conf"] {
        let renamed = trace
            .lines()
            .find(|line| line.contains("rename") && line.contains(&format!("\"{path}\"")));
        let temporary = renamed
            .and_then(|line| line.split('"').nth(1))
            .unwrap_or(path);
        let created = trace
            .lines()
            .find(|line| line.contains("O_CREAT") && line.contains(&format!("\"{temporary}\"")));
        assert!(
            created.is_some_and(|line| line.contains(", 0600)")),
            "{path}: {created:?}"
        );
    }
}

#[test]
fn hooks_find_no_secret_in_a_file_that_others_can_read() {
    let world = World::new();
    let search = format!(
        "find {FOLDERS} -type f -perm /077 ! -name trace -exec grep -laF -f <(printf %s \
         \"$PASS\") {{}} + ; echo searched"
    );
    let container = life(&world)
        .env("PRE_UP", &search)
        .env("POST_UP", &search)
        .start();
    container.wait_for_log("[post-up] searched", SOON);
    let log = container.logs();
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("[pre-up]") || line.contains("[post-up]"))
        .collect();
    assert!(
        said.len() == 2 && said.iter().all(|line| line.ends_with("searched")),
        "{said:?}"
    );
}

/// The texts are the user's and may hold what we cannot know to be secret.
#[test]
fn the_texts_of_hooks_are_in_no_log() {
    let world = World::new();
    let text = "true -u admin:hunter2hunter2";
    let container = life(&world)
        .env("DEBUG", "1")
        .env("RUST_LOG", "trace")
        .env("PORT_FORWARDING", "1")
        .env("PRE_UP", text)
        .env("POST_UP", text)
        .env("PORT_SCRIPT", text)
        .start();
    container.wait_for_log("Forwarding on port", SOON);
    container.wait_for_log("[#] bash -c (hook)", SOON);
    container.stop();
    assert!(
        !container.logs().contains("hunter2"),
        "{}",
        container.logs()
    );
}

/// It would hold password and token. A limit of one byte stops dumps into a pipe too, core(5).
#[test]
fn the_program_leaves_no_core_dump() {
    let world = World::new();
    let unlimited = ["prlimit", "--core=unlimited", "wireguard-pia", "run"];
    let container = life(&world).command(unlimited).start();
    container.wait_for_log(UP, SOON);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", container.pid()));
    let limits = limits.expect("the program runs");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let soft = core.and_then(|line| line.split_whitespace().nth(4));
    assert_eq!(soft, Some("1"), "{limits}");
}

/// A kill at that moment leaves what is there.
#[test]
fn no_file_holds_what_pre_up_was_given_while_it_runs() {
    let world = World::new();
    let container = life(&world)
        .env("PRE_UP", "LOC=nl_amsterdam; echo here; sleep 1; echo over")
        .start();
    container.wait_for_log("[pre-up] here", SOON);
    let files = container.shell("ls -A /run/wireguard-pia /tmp");
    assert!(!files.contains(".tmp"), "{files}");
    container.wait_for_log("[pre-up] over", SOON);
    container.wait_for_log("Registering with nl_amsterdam", SOON);
}

#[test]
fn a_login_that_is_refused_with_a_quotation_is_not_quoted_further() {
    let world = World::new();
    world.pia.quote_login();
    let container = life(&world)
        .env("DEBUG", "1")
        .env("RUST_LOG", "trace")
        .env("EXIT_ON_FATAL", "1")
        .start();
    assert_eq!(container.wait(SOON).code(), Some(1));
    container.wait_for_log("Fatal error", SOON);
    for line in container.lines() {
        assert_eq!(Secrets::default().among(&line.text), None, "{}", line.text);
    }
}

#[test]
fn a_registration_that_is_refused_with_a_quotation_is_not_quoted_further() {
    let world = World::new();
    let token = world.pia.issue_token();
    for server in world.pia.servers() {
        server.refuse_registration(&format!("what is {token}?"));
    }
    let kept = life(&world).file_mode("/pia/.token", token.clone(), 0o600);
    let container = kept
        .env("DEBUG", "1")
        .env("CURL_RETRY", "0")
        .env("EXIT_ON_FATAL", "1")
        .start();
    assert_eq!(container.wait(SOON).code(), Some(1));
    assert!(!container.logs().contains(&token), "{}", container.logs());
    assert!(container.logs().contains("what is"), "{}", container.logs());
}

#[test]
fn the_token_of_a_dedicated_ip_is_a_secret_too() {
    let world = World::new();
    let token = world.pia.dedicate(&world.pia.servers_of("nl_amsterdam")[0]);
    let container = traced(&world)
        .env("PIA_DIP_TOKEN", &token)
        .env("DEBUG", "1")
        .env("RUST_LOG", "trace")
        .start();
    container.wait_for_log(UP, SOON);
    container.stop();
    assert!(!container.logs().contains(&token), "{}", container.logs());
    assert!(!trace(&container).contains(&token));
}

fn life(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}

/// Everything that is executed, and every file that is opened, is written down.
fn traced(world: &World) -> Recipe {
    assert!(
        which::which("strace").is_ok(),
        "these tests need the program strace: install the package strace"
    );
    let strace = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-s",
        "100000",
        "-e",
        "trace=execve,openat,rename,renameat,renameat2",
        "-o",
        TRACE,
    ];
    life(world)
        .env("DEBUG", "1")
        .command(strace.into_iter().chain(["wireguard-pia", "run"]))
}

fn trace(container: &Container) -> String {
    container.read(TRACE).expect("strace has written")
}

fn mode(container: &Container, path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(container.path(path)).expect("the file is there");
    metadata.permissions().mode() & 0o7777
}

/// What must not be seen.
#[derive(Debug, Default)]
struct Secrets {
    token: Option<String>,
    private_key: Option<String>,
}

impl Secrets {
    /// Those of the present life, once its tunnel is up.
    #[track_caller]
    fn of_life(container: &Container) -> Self {
        container.wait_for_log(UP, SOON);
        let token = container.read("/pia/.token").expect("the token is kept");
        let conf = container
            .read("/etc/wireguard/wg0.conf")
            .expect("the interface has a file");
        let private_key = conf
            .lines()
            .find_map(|line| line.strip_prefix("PrivateKey = "))
            .map(str::to_owned);
        assert!(private_key.as_ref().is_some_and(|key| key.len() == 44) && token.len() > 20);
        Self {
            token: Some(token),
            private_key,
        }
    }

    /// All of them, as they are and as they may be encoded. The password's rest is lost in any
    /// quoting.
    fn all(&self) -> Vec<String> {
        assert!(PASSWORD.starts_with("p&s+w%d"), "{PASSWORD}");
        let known = [USER, "p&s+w%d", "p%26s%2Bw%25d"].map(str::to_owned);
        let keys = self
            .private_key
            .iter()
            .flat_map(|key| [key.clone(), key.trim_end_matches('=').replace('+', "%2B")]);
        known
            .into_iter()
            .chain(self.token.clone())
            .chain(keys)
            .collect()
    }

    /// The first that is in this text.
    fn among(&self, text: &str) -> Option<String> {
        self.all().into_iter().find(|secret| text.contains(secret))
    }

    /// The files of the container with such permissions that hold any of them.
    fn files_with_mode(&self, container: &Container, mode: &str) -> String {
        let secrets = self.all().join("\n");
        container.shell(&format!(
            "find {FOLDERS} -type f -perm {mode} -exec grep -laF -f <(cat \
             <<'END'\n{secrets}\nEND\n) {{}} +"
        ))
    }
}
