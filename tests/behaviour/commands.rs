//! What is useful by hand: each command, by its own name and by the old script's, as root and as an
//! ordinary user.

use harness::by_hand::{self, NOBODY, TOKEN, unprivileged};
use harness::simulator::account::{PASSWORD, USER};
use harness::simulator::faults::{Api, Fault};
use harness::simulator::port_forwarding::Mode;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

const OWN: &str = "/usr/local/bin/wireguard-pia";

/// How a command ended, and what it said.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A container where a command can be run by hand: its home can be written by anybody.
fn by_hand(world: &World, uid: u32) -> Recipe {
    let recipe = world.container(PROGRAM).env("HOME", "/tmp");
    if uid == 0 {
        recipe.cap_drop("net_admin")
    } else {
        recipe.ordinary_user(uid)
    }
}

#[track_caller]
fn run(recipe: Recipe, words: &[&str]) -> Ran {
    let container = recipe.command(words.iter().copied()).start();
    finish(&container)
}

#[track_caller]
fn finish(container: &Container) -> Ran {
    let code = container.wait(LATER).code();
    // Which waits for the last lines.
    container.logs();
    let of = |error: bool| {
        let lines = container.lines();
        lines
            .iter()
            .filter(|line| line.error == error)
            .map(|line| line.text.clone() + "\n")
            .collect::<String>()
    };
    Ran {
        code,
        out: of(false),
        err: of(true),
    }
}

/// Both names of a command, for root and for an ordinary user.
fn ways(own: &'static str, script: &'static str) -> [(u32, Vec<&'static str>); 4] {
    let (own, script) = (vec![OWN, own], vec![script]);
    [
        (0, own.clone()),
        (0, script.clone()),
        (NOBODY, own),
        (NOBODY, script),
    ]
}

// auth

#[test]
fn a_token_is_all_of_the_output() {
    let world = World::new();
    for (uid, words) in ways("auth", "/scripts/pia-auth.sh") {
        let words = [words.as_slice(), &["-u", USER, "-p", PASSWORD]].concat();
        let ran = run(by_hand(&world, uid), &words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.err);
        let token = ran.out.strip_suffix('\n').unwrap();
        assert!(token.len() > 100 && !token.contains('\n'), "{token}");
        assert_eq!(ran.err, "");
    }
    assert_eq!(world.pia.login_attempts(), 4);
}

/// "Passwords need not be in the arguments" (README.md)
#[test]
fn a_password_need_not_be_in_the_arguments() {
    let world = World::new();
    let file = ("/pia-shared/pass", format!("{PASSWORD}\n"));
    let script = |text: &str| {
        let recipe = by_hand(&world, NOBODY)
            .file(file.0, file.1.clone())
            .env("SECRET", PASSWORD);
        run(recipe, &["bash", "-c", text])
    };
    for text in [
        format!("printf '%s\\n' \"$SECRET\" | wireguard-pia auth -u {USER} --password-stdin"),
        format!(
            "wireguard-pia auth --user {USER} --password-file {}",
            file.0
        ),
        format!("PASS=\"$SECRET\" wireguard-pia auth -u {USER}"),
        format!("USER={USER} PASS=\"$SECRET\" wireguard-pia auth"),
        format!("USER={USER} PASS_FILE={} /scripts/pia-auth.sh", file.0),
    ] {
        let ran = script(&text);
        assert!(
            ran.code == Some(0) && ran.out.len() > 100,
            "{text}: {}",
            ran.err
        );
    }
    // The name of who is logged in on this machine is none of PIA's.
    let ran = script("USER=alice wireguard-pia auth -p x");
    assert!(
        ran.code == Some(1) && ran.err.contains("user name missing"),
        "{}",
        ran.err
    );
}

#[test]
fn a_refused_login_is_status_1_and_says_nothing_secret() {
    let world = World::new();
    for (uid, words) in ways("auth", "/scripts/pia-auth.sh") {
        let ran = run(
            by_hand(&world, uid),
            &[words.as_slice(), &["-u", USER, "-p", "-wrongword"]].concat(),
        );
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
        assert!(
            ran.err.contains("was refused") && !ran.err.contains("wrongword"),
            "{}",
            ran.err
        );
    }
    world.pia.lock_out();
    let ran = run(
        by_hand(&world, 0),
        &[OWN, "auth", "-u", USER, "-p", PASSWORD],
    );
    assert!(
        ran.code == Some(1) && ran.err.contains("too many attempts"),
        "{}",
        ran.err
    );
}

#[test]
fn a_meta_server_logs_in_too() {
    let world = World::new();
    let server = world.pia.servers_of("nl_amsterdam")[0].clone();
    let (ip, cn) = (server.address().to_string(), server.plan().meta_cn.clone());
    let options = [
        "-u",
        USER,
        "-p",
        PASSWORD,
        "-i",
        &ip,
        "-n",
        &cn,
        "-o",
        "8080",
        "-c",
        "/rsa_4096.crt",
    ];
    for (uid, words) in ways("auth", "/scripts/pia-auth.sh") {
        let ran = run(by_hand(&world, uid), &[words.as_slice(), &options].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let rotated = world.pia.servers_of("swiss")[0].clone();
    let (ip, cn) = (
        rotated.address().to_string(),
        rotated.plan().meta_cn.clone(),
    );
    let ran = run(
        by_hand(&world, NOBODY),
        &[
            OWN, "auth", "-u", USER, "-p", PASSWORD, "-i", &ip, "-n", &cn,
        ],
    );
    assert!(
        ran.code == Some(1) && ran.err.contains("this is no meta server"),
        "{}",
        ran.err
    );
}

#[test]
fn a_revoked_token_is_no_good_any_more() {
    let world = World::new();
    let token = world.pia.issue_token();
    let with_token = || by_hand(&world, NOBODY).file(TOKEN, token.clone());
    let generate = [
        OWN,
        "wg-gen",
        "-t",
        TOKEN,
        "-l",
        "swiss",
        "-o",
        "/tmp/wg.conf",
    ];
    assert_eq!(run(with_token(), &generate).code, Some(0));
    let ran = run(with_token(), &[OWN, "auth", &format!("--revoke={TOKEN}")]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.err);
    assert_eq!(run(with_token(), &generate).code, Some(2));
}

// wg-gen

/// Runs wg-gen with a good token and shows the file, if there is one, with its mode.
fn generate(world: &World, uid: u32, words: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut recipe = by_hand(world, uid).file(TOKEN, world.pia.issue_token() + "\n");
    for (name, value) in environment {
        recipe = recipe.env(*name, *value);
    }
    let script = r#""$@" >/tmp/said 2>&1; code=$?; cat /tmp/said >&2
        stat -c %a /tmp/wg.conf && cat /tmp/wg.conf; exit $code"#;
    run(recipe, &[&["bash", "-c", script, "-"], words].concat())
}

#[test]
fn the_configuration_is_nobody_elses_to_read_and_names_everything() {
    let world = World::new();
    for (uid, words) in ways("wg-gen", "/scripts/wg-gen.sh") {
        let options = [
            "-t",
            TOKEN,
            "-lnl_amsterdam",
            "-o",
            "/tmp/wg.conf",
            "-k",
            "/RegionsListPubKey.pem",
            "-m",
            "1300",
        ];
        let ran = generate(
            &world,
            uid,
            &[words.as_slice(), &options, &["-d", "8.8.8.8,8.8.4.4"]].concat(),
            &[],
        );
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(ran.out.starts_with("600\n"), "{}", ran.out);
        for line in [
            "DNS = 8.8.8.8,8.8.4.4",
            "MTU = 1300",
            "AllowedIPs = 0.0.0.0/0",
            "#cn: amsterdam44",
            "#pf api ip: 10.",
        ] {
            assert!(ran.out.contains(line), "{line} in {}", ran.out);
        }
        assert!(!ran.out.contains("FwMark"), "wg-quick is to choose one");
    }
}

/// "take the same options and give the same exit codes" (docs/migration.md)
#[test]
fn each_problem_has_the_exit_status_that_scripts_know() {
    let world = World::new();
    for (uid, words) in ways("wg-gen", "/scripts/wg-gen.sh") {
        let code = |options: &[&str], environment: &[(&str, &str)]| {
            let ran = generate(
                &world,
                uid,
                &[words.as_slice(), options].concat(),
                environment,
            );
            (ran.code.unwrap(), ran.err)
        };
        let swiss = ["-t", TOKEN, "-l", "swiss", "-o", "/tmp/wg.conf"];
        let (status, said) = code(&["-t", TOKEN, "-l", "swis", "-o", "/tmp/wg.conf"], &[]);
        assert!(
            status == 3 && said.contains("did you mean swiss"),
            "{status} {said}"
        );
        assert_eq!(
            code(
                &["-t", "/nowhere", "-l", "swiss", "-o", "/tmp/wg.conf"],
                &[]
            )
            .0,
            2
        );
        assert_eq!(code(&[&swiss[..], &["-k", "/nowhere"]].concat(), &[]).0, 5);
        assert_eq!(code(&[&swiss[..], &["-c", "/nowhere"]].concat(), &[]).0, 1);
        assert_eq!(code(&["-z"], &[]).0, 1);
        for server in world.pia.servers_of("swiss") {
            server.refuse_registration("no more room");
        }
        assert_eq!(code(&swiss, &[]).0, 4);
        world
            .pia
            .servers_of("swiss")
            .iter()
            .for_each(|server| server.accept_registration());
        world.pia.bad_list_signature();
        assert_eq!(code(&swiss, &[]).0, 5);
        world.pia.good_list_signature();
    }
}

#[test]
fn a_list_that_is_not_to_be_had_has_its_exit_status_too() {
    let world = World::new();
    world.pia.fail(Api::List, Fault::Status(404, 100));
    let words = [
        OWN,
        "wg-gen",
        "-t",
        TOKEN,
        "-l",
        "swiss",
        "-o",
        "/tmp/wg.conf",
    ];
    assert_eq!(generate(&world, 0, &words, &[]).code, Some(5));
}

#[test]
fn without_its_options_the_script_explains_itself() {
    let world = World::new();
    for (script, code) in [
        ("/scripts/wg-gen.sh", 0),
        ("/scripts/pf.sh", 0),
        ("/scripts/pia-auth.sh", 1),
    ] {
        let ran = run(by_hand(&world, NOBODY), &[script]);
        assert_eq!(ran.code, Some(code), "{script}: {}", ran.err);
        assert!(!ran.err.is_empty());
    }
    assert_eq!(run(by_hand(&world, NOBODY), &[OWN, "wg-gen"]).code, Some(1));
}

#[test]
fn servers_can_be_chosen_by_hand_and_by_a_dedicated_ip() {
    let world = World::new();
    let server = world.pia.servers_of("nl_amsterdam")[0].clone();
    let ip = server.address().to_string();
    let options = [OWN, "wg-gen", "-t", TOKEN, "-o", "/tmp/wg.conf"];
    let manual = [
        ("PIA_IP", ip.as_str()),
        ("PIA_CN", server.cn()),
        ("PIA_PORT", "1337"),
    ];
    let ran = generate(&world, NOBODY, &options, &manual);
    assert!(
        ran.code == Some(0) && ran.out.contains(&format!("Endpoint = {ip}:")),
        "{}",
        ran.err
    );
    assert_eq!(
        world.pia.records().of(Api::List).len(),
        0,
        "no list is needed"
    );
    let dip = world.pia.dedicate(&server);
    let ran = generate(&world, NOBODY, &options, &[("PIA_DIP_TOKEN", &dip)]);
    assert!(
        ran.code == Some(0) && ran.out.contains(&format!("Endpoint = {ip}:")),
        "{}",
        ran.err
    );
    world.pia.set_dedicated_ip_status("expired");
    let ran = generate(&world, NOBODY, &options, &[("PIA_DIP_TOKEN", &dip)]);
    assert!(
        ran.code == Some(5) && !ran.err.contains(&dip),
        "{}",
        ran.err
    );
}

/// "the command to get it is printed with its checksum" (README.md)
#[test]
fn pias_files_are_found_or_it_is_said_how_to_get_them() {
    let world = World::new();
    let script = format!(
        "mkdir -p $HOME/.config/wireguard-pia && cp /rsa_4096.crt /RegionsListPubKey.pem \
         $HOME/.config/wireguard-pia/; \
         umount /rsa_4096.crt /RegionsListPubKey.pem; rm -f /rsa_4096.crt /RegionsListPubKey.pem; \
         wireguard-pia wg-gen -t {TOKEN} -l swiss -o /tmp/wg.conf || exit 9; \
         rm $HOME/.config/wireguard-pia/*; wireguard-pia wg-gen -t {TOKEN} -l swiss -o /tmp/wg.conf"
    );
    let recipe = by_hand(&world, 0)
        .cap_add("sys_admin")
        .file(TOKEN, world.pia.issue_token());
    let ran = run(recipe, &["bash", "-c", &script]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    for part in [
        "rsa_4096.crt",
        "PIA_CA_FILE",
        "raw.githubusercontent.com/pia-foss/desktop/5227515",
        "sha256sum -c",
    ] {
        assert!(ran.err.contains(part), "{part} in {}", ran.err);
    }
}

#[track_caller]
fn with_tunnel(world: &World, then: &str) -> Container {
    by_hand::with_tunnel(world, PROGRAM, then)
}

#[test]
fn plain_wg_quick_brings_the_configuration_up() {
    let world = World::new();
    let container = with_tunnel(
        &world,
        "cat /tmp/resolvconf.-a; wg-quick down /tmp/wg-pia.conf; echo down; sleep 60",
    );
    container.wait_for_log("nameserver 10.0.0.243", SOON);
    container.wait_for_log("down", SOON);
    drop(container);
    let _container = with_tunnel(&world, "sleep 60");
    assert_eq!(world.location_in_use(), "swiss");
}

// port-forward

#[test]
fn a_port_is_kept_for_as_long_as_it_runs() {
    let world = World::new();
    let named = "-i $(sed -n 's/^#pf api ip: //p' /tmp/wg-pia.conf) -n $(sed -n 's/^#cn: //p' \
                 /tmp/wg-pia.conf)";
    for (words, verified) in [
        (
            format!("/scripts/pf.sh -t {TOKEN} {named} -f wg-pia -p /tmp/port -s 'echo told'"),
            true,
        ),
        (
            format!("wireguard-pia port-forward -t {TOKEN} -p /tmp/port -s 'echo told'"),
            false,
        ),
    ] {
        let container = with_tunnel(&world, &unprivileged(&words));
        let line = container.wait_for_log("Forwarding on port ", SOON).text;
        let port: u16 = line.rsplit(' ').next().unwrap().parse().unwrap();
        container.wait_for_log(&format!("[port-script] told {port}"), SOON);
        let refreshed = || {
            world
                .pia
                .bound_ports()
                .iter()
                .any(|bound| bound.port == port && bound.refreshed >= 2)
        };
        wait_until("the port to be refreshed", SOON, refreshed);
        let says_so = container.logs().contains("is not verified");
        assert_eq!(says_so, !verified, "{}", container.logs());
        let stopped = container.stop();
        assert!(stopped.status.success(), "{stopped:?}");
        world
            .pia
            .servers()
            .iter()
            .for_each(|server| server.reboot());
    }
}

#[test]
fn the_port_stays_the_same_from_run_to_run() {
    let world = World::new();
    let words = format!("wireguard-pia port-forward -t {TOKEN} -r /tmp/lease");
    let once =
        format!("timeout -s TERM 3 {words}; stat -c 'mode %a' /tmp/lease; echo again; {words}");
    let container = with_tunnel(&world, &once);
    container.wait_for_log("mode 600", SOON);
    container.wait_for_log("Using the stored lease of port", SOON);
    wait_until("the second run's port", SOON, || {
        container.logs().matches("Forwarding on port").count() == 2
    });
    let logs = container.logs();
    let ports: Vec<&str> = logs
        .lines()
        .filter_map(|line| line.strip_prefix("Forwarding on port "))
        .collect();
    assert_eq!(ports[0], ports[1]);
}

#[test]
fn a_server_of_another_name_is_not_asked_for_a_port() {
    let world = World::new();
    let container = with_tunnel(
        &world,
        &unprivileged(&format!("/scripts/pf.sh -t {TOKEN} -n Server-1-1a")),
    );
    assert_eq!(container.wait(LATER).code(), Some(1));
    container.wait_for_log("its certificate is for another server", SOON);
    assert_eq!(world.pia.records().of(Api::GetSignature).len(), 0);
}

#[test]
fn where_no_port_is_to_be_had_it_says_so_and_ends() {
    let world = World::new();
    world.pia.port_forwarding().set(Mode::Unauthorized);
    let words = unprivileged(&format!("wireguard-pia port-forward -t {TOKEN}"));
    let container = with_tunnel(&world, &words);
    assert_eq!(container.wait(LATER).code(), Some(1));
    container.wait_for_log("Fatal error: asking for a forwarded port", SOON);
    drop(container);
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.no_port_forwarding());
    let container = with_tunnel(&world, &words);
    assert_eq!(container.wait(LATER).code(), Some(1));
    // Without a tunnel the first hop is the home router.
    let ran = run(
        by_hand(&world, NOBODY).file(TOKEN, "x"),
        &[OWN, "port-forward", "-t", TOKEN],
    );
    assert!(
        ran.code == Some(1) && ran.out.contains("is the tunnel up?"),
        "{}{}",
        ran.out,
        ran.err
    );
}

#[test]
fn trouble_with_a_port_that_was_had_is_waited_out() {
    let world = World::new();
    let container = with_tunnel(
        &world,
        &unprivileged(&format!("wireguard-pia port-forward -t {TOKEN}")),
    );
    container.wait_for_log("Forwarding on port", SOON);
    world.pia.fail(Api::BindPort, Fault::Status(503, 1));
    container.wait_for_log("trying again in", SOON);
    let before = world.pia.bound_ports()[0].refreshed;
    wait_until("the port to be refreshed again", SOON, || {
        world.pia.bound_ports()[0].refreshed > before
    });
    container.signal(Signal::SIGINT);
    assert!(container.wait(SOON).success());
}

// pf_success.sh

#[test]
fn a_port_is_let_in_once_and_the_script_is_left_running() {
    let world = World::new();
    let script =
        "/scripts/pf_success.sh 47047 && /scripts/pf_success.sh 47047 && echo returned; sleep 60";
    let recipe = world
        .container(PROGRAM)
        .env("PORT_SCRIPT", "sleep 1; echo told")
        .command(["bash", "-c", script]);
    let container = recipe
        .env("FWD_IFACE", "eth0")
        .env("PF_DEST_IP", "192.168.77.10")
        .start();
    container.wait_for_log("returned", SOON);
    assert!(
        !container
            .logs()
            .lines()
            .any(|line| line.starts_with("told")),
        "it was waited for"
    );
    container.wait_for_log("told 47047", SOON);
    let rules = world.look("iptables-save");
    for rule in [
        "-A INPUT -i wg0 -p tcp -m tcp --dport 47047 -j ACCEPT",
        "-A INPUT -i wg0 -p udp -m udp --dport 47047 -j ACCEPT",
        "-A FORWARD -d 192.168.77.10/32 -i wg0 -o eth0 -p udp -m udp --dport 47047 -j ACCEPT",
        "-A PREROUTING -i wg0 -p tcp -m tcp --dport 47047 -j DNAT --to-destination \
         192.168.77.10:47047",
    ] {
        assert_eq!(rules.matches(rule).count(), 1, "{rule} in {rules}");
    }
}

// locations

#[test]
fn locations_are_a_table_of_80_columns_without_colour() {
    let world = World::new();
    for uid in [0, NOBODY] {
        let ran = run(
            by_hand(&world, uid).env("TERM", "xterm-256color"),
            &[OWN, "locations"],
        );
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(
            ran.out
                .lines()
                .all(|line| line.chars().count() <= 80 && !line.contains('\x1b'))
        );
        assert!(ran.out.contains("\nswiss "), "{}", ran.out);
        assert!(ran.out.lines().count() > 100);
    }
}

/// Programs read standard output from the first `{` on.
#[test]
fn an_empty_loc_and_wg_gen_by_its_old_name_print_objects_that_programs_read() {
    let world = World::new();
    let script = run(by_hand(&world, NOBODY), &["/scripts/wg-gen.sh", "-a"]);
    assert_eq!(script.code, Some(0), "{}", script.err);
    let recipe = world.container(PROGRAM).credentials();
    let recipe = recipe
        .env("FATAL_SCRIPT", "echo called")
        .env("POST_DOWN", "echo called");
    let printed = finish(&recipe.start());
    // No error, so nobody is called.
    assert_eq!(printed.code, Some(1));
    assert!(!printed.out.contains("called"), "{}", printed.out);
    for out in [script.out, printed.out] {
        let (before, objects) = out.split_at(out.find('{').expect("an object"));
        assert!(before.ends_with("Available location ids:\n"), "{before}");
        let objects: Vec<serde_json::Value> = serde_json::Deserializer::from_str(objects)
            .into_iter()
            .map_while(Result::ok)
            .collect();
        assert!(objects.len() > 100, "{out}");
        let swiss = serde_json::json!({"name": "Switzerland", "id": "swiss", "port_forward": true});
        assert!(objects.contains(&swiss), "{out}");
    }
}

#[test]
fn wg_gen_by_its_own_name_lists_for_people() {
    let world = World::new();
    let table = run(by_hand(&world, NOBODY), &[OWN, "wg-gen", "-a"]);
    assert!(table.out.contains("\nswiss "), "{}", table.out);
}

#[test]
fn locations_can_be_narrowed_and_read_by_programs() {
    let world = World::new();
    world
        .pia
        .lists()
        .edit("swiss", |region| region.port_forward = false);
    let ids = |options: &[&str]| -> Vec<String> {
        let ran = run(
            by_hand(&world, NOBODY),
            &[&[OWN, "locations", "--json"], options].concat(),
        );
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let all: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
        all.iter()
            .map(|location| location["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&["--country", "ch"]), ["swiss"]);
    assert_eq!(
        ids(&["--country", "CH", "--country", "AT"]),
        ["austria", "swiss"]
    );
    assert!(!ids(&["--port-forward"]).contains(&"swiss".to_owned()));
    let ran = run(
        by_hand(&world, NOBODY),
        &[OWN, "locations", "--country", "CH", "--port-forward"],
    );
    assert_eq!(ran.code, Some(3));
    let ran = run(
        by_hand(&world, NOBODY),
        &[OWN, "locations", "--country", "Switzerland"],
    );
    assert!(
        ran.code == Some(1) && ran.err.contains("two letters"),
        "{}",
        ran.err
    );
}

/// As `pids_limit` does for a container: threads and processes beyond a number are refused.
#[test]
fn a_limit_of_processes_is_at_most_an_error() {
    let world = World::new();
    // No other process has these user ids.
    for (uid, processes) in [(64001, 1), (64002, 2), (64003, 4), (64004, 8)] {
        let limit = format!("--nproc={processes}");
        for words in [
            &["locations", "--ping", "--json"][..],
            &["wg-gen", "-u", USER, "-p", PASSWORD, "-l", "swiss"],
        ] {
            let words = [&["prlimit", &limit, OWN], words].concat();
            let ran = run(by_hand(&world, uid), &words);
            assert!(!ran.err.contains("panicked"), "{processes}: {}", ran.err);
            assert!(
                matches!(ran.code, Some(0..=9)),
                "{processes}: {:?}",
                ran.code
            );
        }
    }
}

// Arguments.

#[test]
fn help_is_complete_and_mistakes_are_answered_with_the_nearest_right_word() {
    let world = World::new();
    let verbs = [
        "run",
        "healthcheck",
        "status",
        "seal",
        "locations",
        "auth",
        "wg-gen",
        "port-forward",
        "doctor",
    ];
    let help = run(by_hand(&world, NOBODY), &[OWN, "--help"]);
    for verb in verbs {
        assert!(
            help.out.contains(&format!("\n  {verb} ")),
            "{verb} in {}",
            help.out
        );
        let ran = run(by_hand(&world, NOBODY), &[OWN, verb, "--help"]);
        assert_eq!(ran.code, Some(0));
        assert!(ran.out.contains("Usage: wireguard-pia"), "{}", ran.out);
        assert!(
            ran.out.lines().all(|line| line.chars().count() <= 80),
            "{}",
            ran.out
        );
    }
    for (words, nearest) in [
        (&["locatons"][..], "'locations'"),
        (&["locations", "--pings"], "'--ping'"),
        (&["wg-gen", "--tokenfile", "x"], "'--token-file'"),
        (&["doctor", "--josn"], "'--json'"),
    ] {
        let ran = run(by_hand(&world, NOBODY), &[&[OWN], words].concat());
        assert!(
            ran.code == Some(1) && ran.err.contains(nearest),
            "{words:?}: {}",
            ran.err
        );
    }
}
