//! Users' commands at the stages of the container's life.

use std::time::Duration;

use harness::log_lines::{UP, count, in_order};
use harness::simulator::faults::Api;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::network::{ELSEWHERE, INSIDE};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

fn container(world: &World) -> Recipe {
    world
        .container(PROGRAM)
        .credentials()
        .env("LOC", "nl_amsterdam")
}

/// Runs a life to its end and returns its log.
#[track_caller]
fn log_of_a_life(recipe: Recipe) -> String {
    let container = recipe.start();
    container.wait_for_log(UP, SOON);
    assert!(container.stop().status.success());
    container.logs()
}

/// "A script named after the stage runs first if it is executable, then the variable's text goes to
/// `bash -c`." (README.md)
#[test]
fn scripts_and_variables_run_at_their_stages_without_arguments() {
    let world = World::new();
    let mut recipe = container(&world);
    for stage in ["pre-up", "post-up", "pre-down", "post-down"] {
        let variable = stage.to_uppercase().replace('-', "_");
        let note = |what: &str| format!("echo {stage} {what} $# $PWD >>/pia/order");
        recipe = recipe
            .script(
                format!("/pia/scripts/{stage}.sh"),
                format!("#!/bin/sh\n{}\n", note("script")),
            )
            .env(variable, note("text"));
    }
    let container = recipe
        .env(
            "POST_UP",
            "echo post-up text $# $PWD >>/pia/order; echo noted",
        )
        .start();
    container.wait_for_log("[post-up] noted", SOON);
    assert!(container.stop().status.success());
    let expected: String = ["pre-up", "post-up", "pre-down", "post-down"]
        .map(|stage| format!("{stage} script 0 /scripts\n{stage} text 0 /scripts\n"))
        .concat();
    assert_eq!(
        container.read("/pia/order").as_deref(),
        Some(expected.as_str())
    );
}

#[test]
fn hooks_run_around_the_tunnel() {
    let world = World::new();
    let wg0 = "[[ -e /sys/class/net/wg0 ]] && echo has it || echo has it not";
    let container = ["PRE_UP", "POST_UP", "PRE_DOWN", "POST_DOWN"]
        .into_iter()
        .fold(container(&world), |recipe, variable| {
            recipe.env(variable, wg0)
        })
        .start();
    container.wait_for_log("[post-up] has it", SOON);
    assert!(container.stop().status.success());
    let log = container.logs();
    let expected = [
        "[pre-up] has it not\n",
        "WireGuard successfully started\n",
        "[post-up] has it\n",
        "[pre-down] has it\n",
        "Shutting down\n",
        "[post-down] has it not\n",
    ];
    assert!(in_order(&log, &expected), "{log}");
}

#[test]
fn hooks_run_around_a_reconnect() {
    let world = World::new();
    let note = |stage: &str| format!("echo $# $PWD by $VPN_SERVER_CN >>/pia/{stage}; echo noted");
    let container = container(&world)
        .env("PRE_RECONNECT", note("before"))
        .env("POST_RECONNECT", note("after"))
        .start();
    container.wait_for_log("Firewall enabled", SOON);
    container.signal(Signal::SIGHUP);
    container.wait_for_log("[post-reconnect] noted", SOON);
    let noted = |stage| container.read(format!("/pia/{stage}")).expect("a note");
    let servers = world.pia.records().registrations();
    assert_eq!(
        noted("before"),
        format!("0 /scripts by {}\n", servers[0].server)
    );
    assert_eq!(
        noted("after"),
        format!("0 /scripts by {}\n", servers[1].server)
    );
    assert_ne!(servers[0].server, servers[1].server);
}

/// "open, so that you can install packages" (README.md)
#[test]
fn pre_up_has_the_open_network_and_what_follows_has_not() {
    let world = World::new();
    let send = |word: &str| format!("echo {word} >/dev/udp/{ELSEWHERE}/9");
    let container = container(&world)
        .env("PRE_UP", send("before"))
        .env("FATAL_SCRIPT", send("after") + "; echo sent")
        .env("LOC", "nowhere")
        .start();
    container.wait_for_log("[fatal-script]", SOON);
    container.wait_for_log("Trying again in", SOON);
    assert!(
        world
            .elsewhere
            .wait_for(SOON, |arrival| arrival.text == "before")
    );
    assert!(container.stop().status.success());
    assert_eq!(world.elsewhere.all().len(), 1);
}

#[test]
fn pre_up_does_not_open_what_an_earlier_life_closed() {
    let world = World::new();
    let send = |word: &str| format!("echo {word} >/dev/udp/{ELSEWHERE}/9; echo tried");
    let mut container = container(&world)
        .env("PRE_UP", send("first"))
        .env("LOC", "nowhere")
        .start();
    container.wait_for_log("Trying again in", SOON);
    assert!(
        world
            .elsewhere
            .wait_for(SOON, |arrival| arrival.text == "first")
    );
    assert!(container.stop().status.success());
    container.set_env("PRE_UP", send("second"));
    container.restart();
    container.wait_for_log("[pre-up] tried", SOON);
    container.wait_for_log("Trying again in", SOON);
    assert_eq!(world.elsewhere.all().len(), 1);
}

#[test]
fn post_up_and_pre_down_have_the_tunnel() {
    let world = World::new();
    let ask = format!(
        "exec 3<>/dev/tcp/{INSIDE}/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; echo seen as \
         $(tail -n 1 <&3)"
    );
    let container = container(&world)
        .env("POST_UP", &ask)
        .env("PRE_DOWN", &ask)
        .start();
    container.wait_for_log("[post-up] seen as 198.51.100.1", SOON);
    assert!(container.stop().status.success());
    assert!(container.logs().contains("[pre-down] seen as 198.51.100.1"));
}

/// "Once registered, hooks see `VPN_LOCATION`, `VPN_SERVER_CN`, `VPN_SERVER_IP`, `VPN_LOCAL_IP`"
/// (README.md)
#[test]
fn hooks_see_the_environment_and_what_the_registration_brought() {
    let world = World::new();
    let container = container(&world)
        .env("GREETING", "two\nlines")
        .env(
            "PRE_UP",
            r#"echo "$GREETING" | wc -l; echo location "${VPN_LOCATION-unknown}""#,
        )
        .env(
            "POST_UP",
            "echo $VPN_LOCATION $VPN_SERVER_CN $VPN_SERVER_IP $VPN_LOCAL_IP from $LOC",
        )
        .start();
    container.wait_for_log("[pre-up] 2", SOON);
    container.wait_for_log("[pre-up] location unknown", SOON);
    container.wait_for_log("from nl_amsterdam", SOON);
    let registered = &world.pia.records().registrations()[0];
    let server = world.pia.server(&registered.server);
    let expected = format!(
        "[post-up] nl_amsterdam {} {} {} from nl_amsterdam",
        server.cn(),
        server.address(),
        registered.address
    );
    assert_eq!(count(&container.logs(), &expected), 1, "{expected}");
}

/// "What they print is logged with the stage's name." (README.md)
#[test]
fn both_outputs_are_passed_on_with_the_name_of_the_hook() {
    let world = World::new();
    let recipe = container(&world)
        .script(
            "/pia/scripts/pre-up.sh",
            "#!/bin/sh\necho from the script\n",
        )
        .env("PRE_UP", "echo out; echo err >&2; printf 'no newline'");
    let log = log_of_a_life(recipe);
    assert!(in_order(
        &log,
        &[
            "[pre-up] from the script\n",
            "[pre-up] out\n",
            "[pre-up] err\n",
            "[pre-up] no newline\n"
        ]
    ));
}

/// "A hook that fails is logged with its status; the start goes on." (README.md)
#[test]
fn a_hook_that_fails_is_no_reason_to_stop() {
    let world = World::new();
    let recipe = container(&world)
        .script("/pia/scripts/pre-up.sh", "#!/bin/sh\nexit 3\n")
        .env("PRE_UP", "(exit 4)")
        .env("PRE_DOWN", "no-such-program")
        .env("POST_DOWN", "kill -9 $$");
    let log = log_of_a_life(recipe);
    for status in [
        "pre-up hook failed (exit status 3)",
        "pre-up hook failed (exit status 4)",
    ] {
        assert!(log.contains(status), "{log}");
    }
    assert!(
        log.contains("pre-down hook failed (exit status 127)"),
        "{log}"
    );
    assert!(
        log.contains("post-down hook failed (ended by SIGKILL)"),
        "{log}"
    );
}

/// "Variables of the table above that `PRE_UP` assigns take effect" (README.md)
#[test]
fn pre_up_can_choose_the_location() {
    let world = World::new();
    let recipe = container(&world)
        .file("/pia/wish", "swiss\n")
        .env("PRE_UP", "LOC=$(cat /pia/wish)");
    let container = recipe.env("LOC", "nowhere").start();
    container.wait_for_log(UP, SOON);
    assert!(
        world.pia.records().registrations()[0]
            .server
            .starts_with("Server-")
    );
}

#[test]
fn what_pre_up_exports_is_there_for_later_hooks() {
    let world = World::new();
    let recipe = container(&world)
        .env(
            "PRE_UP",
            "export GREETING='good  day'; secret=1; MTU=1333; POST_UP='echo replaced'; unset GIVEN",
        )
        .env("GIVEN", "1")
        .script(
            "/pia/scripts/post-down.sh",
            "#!/bin/sh\necho \"${GIVEN-taken away}, $GREETING\"\n",
        )
        .env("POST_UP", "echo original")
        .env("PRE_DOWN", r#"echo "$GREETING $secret $MTU""#)
        .env("POST_DOWN", "cat /etc/wireguard/wg0.conf");
    let container = recipe.start();
    container.wait_for_log("[post-up] replaced", SOON);
    assert!(container.stop().status.success());
    let log = container.logs();
    assert!(
        in_order(
            &log,
            &[
                "[pre-down] good  day 1 1333\n",
                "[post-down] taken away, good  day\n",
                "[post-down] MTU = 1333\n"
            ]
        ),
        "{log}"
    );
}

#[test]
fn pre_up_can_turn_the_kill_switch_off() {
    let world = World::new();
    let container = container(&world).env("PRE_UP", "FIREWALL=0").start();
    container.wait_for_log("FIREWALL=0: there is no kill switch", SOON);
    assert!(!world.is_sealed());
}

#[test]
fn a_background_child_holds_nothing_up() {
    let world = World::new();
    let recipe = container(&world)
        .env("PRE_UP", "sleep 600 & echo left")
        .env("PRE_DOWN", "sleep 600 & echo left");
    let container = recipe.start();
    container.wait_for_log(UP, SOON);
    let stopped = container.stop();
    assert!(stopped.status.success(), "{stopped:?}");
    assert_eq!(count(&container.logs(), "[pre-down] left"), 1);
}

#[test]
fn what_a_background_child_says_is_still_passed_on() {
    let world = World::new();
    let hook = "(until [[ -e /sys/class/net/wg0 ]]; do sleep 0.1; done; echo sees it) & echo left";
    let container = container(&world).env("PRE_UP", hook).start();
    container.wait_for_log("[pre-up] left", SOON);
    container.wait_for_log("[pre-up] sees it", SOON);
}

#[test]
fn a_script_needs_no_interpreter_line() {
    let world = World::new();
    let recipe =
        container(&world).script("/pia/scripts/pre-up.sh", "[[ $BASH ]] && echo in bash\n");
    assert!(log_of_a_life(recipe).contains("[pre-up] in bash\n"));
}

/// The kernel names the script where its interpreter is missing, which is not what is wrong.
#[test]
fn a_script_whose_interpreter_is_missing_is_said_to_be_one() {
    let world = World::new();
    let recipe = container(&world)
        .script("/pia/scripts/pre-up.sh", "#!/bin/sh\r\necho ran\r\n")
        .script(
            "/pia/scripts/pre-down.sh",
            "#! /nowhere/python3 -u\nprint()\n",
        );
    let log = log_of_a_life(recipe);
    for said in [
        "The pre-up hook: /pia/scripts/pre-up.sh has Windows line endings",
        "The pre-down hook: /pia/scripts/pre-down.sh wants /nowhere/python3, which is not there",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn a_script_that_is_not_executable_is_skipped_with_one_warning() {
    let world = World::new();
    let recipe = ["pre-up", "pre-down"]
        .into_iter()
        .fold(container(&world), |recipe, stage| {
            recipe.file(format!("/pia/scripts/{stage}.sh"), "#!/bin/sh\necho ran\n")
        });
    let log = log_of_a_life(recipe);
    for stage in ["pre-up", "pre-down"] {
        let line = format!(
            "Warning: /pia/scripts/{stage}.sh is not executable and therefore not run; chmod +x it"
        );
        assert_eq!(count(&log, &line), 1, "{log}");
    }
    assert!(!log.contains("ran\n"));
    // It counts as none, so the kill switch closes at once.
    assert!(in_order(&log, &["Kill switch closed", "Settings: "]));
}

/// "`exit N` in a variable's text ends the container with status N" (README.md)
#[test]
fn a_text_that_exits_ends_the_container_with_its_status_and_the_kill_switch_closed() {
    for (variable, text) in [
        ("PRE_UP", "test -e /pia/mounted || exit 7"),
        ("POST_UP", "sleep 0.2; exit 7"),
        ("FATAL_SCRIPT", "exit 7"),
    ] {
        let world = World::new();
        let mut recipe = container(&world).env(variable, text);
        if variable == "FATAL_SCRIPT" {
            recipe = recipe.env("LOC", "nowhere");
        }
        let container = recipe.start();
        assert_eq!(container.wait(SOON).code(), Some(7), "{variable}");
        assert!(world.is_sealed(), "{variable}");
    }
}

/// "`kill $$`, which stops the container as `docker stop` does" (README.md)
#[test]
fn a_text_that_kills_its_own_shell_stops_the_container() {
    for (variable, text) in [
        ("PRE_UP", "test -e /pia/mounted || kill $$"),
        ("POST_UP", "sleep 0.2; kill $$; echo is still there"),
        ("FATAL_SCRIPT", "kill -TERM $$"),
    ] {
        let world = World::new();
        let mut recipe = container(&world)
            .env("EXIT_ON_FATAL", "1")
            .env("PRE_DOWN", "echo goes; kill $$")
            .env("POST_DOWN", "echo is down")
            .env(variable, text);
        if variable == "FATAL_SCRIPT" {
            recipe = recipe.env("LOC", "nowhere");
        }
        let container = recipe.start();
        assert_eq!(container.wait(SOON).code(), Some(0), "{variable}");
        let log = container.logs();
        assert!(
            in_order(&log, &["[pre-down] goes", "[post-down] is down"]),
            "{log}"
        );
        assert!(!log.contains("is still there"), "{log}");
        let registered = world.pia.records().registrations().len();
        assert_eq!(registered, usize::from(variable == "POST_UP"), "{variable}");
        assert!(world.is_sealed(), "{variable}");
    }
}

#[test]
fn a_hook_of_a_reconnect_can_kill_its_shell_too() {
    for variable in ["PRE_RECONNECT", "POST_RECONNECT"] {
        let world = World::new();
        let life = container(&world)
            .env(variable, "kill $$")
            .env("POST_DOWN", "echo is down")
            .connect();
        life.wait_for_log("Firewall enabled", SOON);
        life.signal(Signal::SIGHUP);
        assert_eq!(life.wait(SOON).code(), Some(0), "{variable}");
        assert!(life.logs().contains("[post-down] is down"), "{variable}");
        assert!(world.is_sealed(), "{variable}");
    }
}

/// A script has a shell of its own in the original, too.
#[test]
fn a_script_that_kills_its_own_shell_has_failed() {
    let world = World::new();
    let recipe = container(&world).script("/pia/scripts/pre-up.sh", "kill $$\n");
    let log = log_of_a_life(recipe);
    assert!(log.contains("hook failed (ended by SIGTERM)"), "{log}");
}

/// What a text leaves has to be kept somewhere, and a full `/run` is no word of the text's.
#[test]
fn a_text_that_comes_to_its_end_ends_nothing_where_run_is_full() {
    let world = World::new();
    let fill = "head -c 1000000 /dev/zero >/run/fill; LOC=nowhere";
    let container = container(&world)
        .tmpfs("/run", "size=16k,mode=755")
        .env("PRE_UP", fill)
        .start();
    container.wait_for_log("location nowhere: ", SOON);
    let log = container.logs();
    assert!(!log.contains("ends the container"), "{log}");
    assert!(container.exit_status().is_none());
}

#[test]
fn down_hooks_and_hooks_of_a_reconnect_can_exit_too() {
    let world = World::new();
    let recipe = container(&world).env("PRE_DOWN", "exit 7");
    let life = recipe.env("POST_DOWN", "echo ran").connect();
    assert_eq!(life.stop().status.code(), Some(7));
    assert!(!life.logs().contains("[post-down] ran"));
    for variable in ["PRE_RECONNECT", "POST_RECONNECT"] {
        let world = World::new();
        let life = container(&world).env(variable, "exit 7").connect();
        life.wait_for_log("Firewall enabled", SOON);
        life.signal(Signal::SIGHUP);
        assert_eq!(life.wait(SOON).code(), Some(7), "{variable}");
        assert!(world.is_sealed(), "{variable}");
    }
}

/// "The texts behave as one shell" (README.md)
#[test]
fn what_one_text_leaves_is_there_in_the_next() {
    let world = World::new();
    let post_up = "sleep 600 & MYPID=$!; greet() { echo \"hello $1 from $PWD\"; }; umask 027; \
                   cd /pia; POST_DOWN='greet again'";
    let pre_down = "kill $MYPID && greet you; touch made; stat -c %a made";
    let container = container(&world)
        .env("POST_UP", post_up)
        .env("PRE_DOWN", pre_down)
        .env("DEBUG", "1")
        .start();
    container.wait_for_log("The post-up hook has ended", SOON);
    assert!(container.stop().status.success());
    let log = container.logs();
    let expected = [
        "[pre-down] hello you from /pia\n",
        "[pre-down] 640\n",
        "[post-down] hello again from /pia\n",
    ];
    assert!(in_order(&log, &expected), "{log}");
}

/// "the names of the original's shell" (README.md)
#[test]
fn hooks_see_the_names_of_the_originals_shell() {
    let world = World::new();
    let text = "echo $outgoing_iface $outgoing_addr $portfile $tokenfile $wg_conf";
    let container = container(&world)
        .env("PORT_FILE", "/pia-shared/other")
        .env("POST_UP", text)
        .script("/pia/scripts/pre-down.sh", format!("{text}\n"))
        .start();
    let address = world.look("ip -4 -o addr show eth0");
    let address = address.split_whitespace().nth(3).expect("an address");
    let address = address.split('/').next().expect("an address");
    let expected = format!("eth0 {address} /pia-shared/other /pia/.token /etc/wireguard/wg0.conf");
    container.wait_for_log(&format!("[post-up] {expected}"), SOON);
    assert!(container.stop().status.success());
    assert!(container.logs().contains(&format!("[pre-down] {expected}")));
}

/// A proxy would be one more that learns where requests go; Docker's client sets one in every
/// container. The monitor's variables are there where the user set them.
#[test]
fn a_proxy_is_passed_on_but_not_used_and_our_own_names_win() {
    let world = World::new();
    let container = container(&world)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("CURL_CA_BUNDLE", "/nowhere")
        .env("VPN_LOCATION", "mine")
        .env("MONITOR_RETRIES", "4")
        .env(
            "POST_UP",
            "echo $VPN_LOCATION $HTTPS_PROXY $MONITOR_RETRIES \
             ${MONITOR_INTERVAL-unset} ${original_nameserver-unset}; \
             pidof pf.sh || echo no pf.sh",
        )
        .env("PORT_FORWARDING", "1")
        .start();
    container.wait_for_log(
        "[post-up] nl_amsterdam http://127.0.0.1:1 4 unset unset",
        SOON,
    );
    container.wait_for_log("[post-up] no pf.sh", SOON);
}

/// "run … with the port appended": a block of YAML ends in a newline. In the original it is the
/// first argument, too.
#[test]
fn the_port_is_appended_to_the_last_line_of_a_port_script() {
    let world = World::new();
    let container = container(&world)
        .env("PORT_FORWARDING", "1")
        .env("PORT_SCRIPT", "echo first\necho last ${1:+1}\n")
        .env("PORT_DOWN_SCRIPT", "echo down $1 as\n")
        .start();
    container.wait_for_log("[port-script] last 1 ", SOON);
    let port = container.read("/pia-shared/port.dat").expect("a port");
    assert!(container.stop().status.success());
    let log = container.logs();
    let port = port.trim_end();
    for said in [
        format!("[port-script] last 1 {port}"),
        format!("[port-down-script] down {port} as {port}"),
    ] {
        assert!(log.contains(&said), "{log}");
    }
}

// Files of the user's own over the names in /scripts.

/// "An own `/scripts/pf_success.sh` is run with the port" (README.md)
#[test]
fn an_own_pf_success_stands_for_the_rules_and_for_port_script() {
    let world = World::new();
    let container = container(&world)
        .env("PORT_FORWARDING", "1")
        .env("PORT_SCRIPT", "echo ours")
        .script("/scripts/pf_success.sh", "echo own $# in $PWD: $1\n")
        .start();
    container.wait_for_log("[pf_success.sh] own 1 in /scripts: ", SOON);
    let port = container.read("/pia-shared/port.dat").expect("a port");
    let port = port.trim();
    let log = container.logs();
    assert!(log.contains(&format!("in /scripts: {port}\n")), "{log}");
    assert!(!log.contains("ours"), "{log}");
    let rules = world.look("iptables-save");
    assert!(!rules.contains(port), "{rules}");
}

/// However often the port is refreshed.
#[test]
fn an_own_pf_success_that_is_not_executable_is_told_once() {
    let world = World::new();
    let container = container(&world)
        .env("PORT_FORWARDING", "1")
        .env("PORT_REBIND_INTERVAL", "1")
        .file("/scripts/pf_success.sh", "echo own\n")
        .start();
    container.wait_for_log("Forwarding on port", SOON);
    wait_until("it is refreshed", SOON, || {
        world.pia.records().of(Api::BindPort).len() >= 3
    });
    let log = container.logs();
    let warning = "/scripts/pf_success.sh is not executable and therefore not run; chmod +x it";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

/// "an own `/scripts/healthcheck.sh` is the monitor's probe" (README.md)
#[test]
fn an_own_healthcheck_decides_whether_to_reconnect() {
    let world = World::new();
    let healthcheck = "[ \"$ACTIVE_HEALTHCHECKS$PORT_FORWARDING\" = 10 ] || exit 1\n\
                       [ ! -e /pia/sick ] || { rm /pia/sick; exit 1; }\n";
    let container = container(&world)
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "1")
        .script("/scripts/healthcheck.sh", healthcheck)
        .connect();
    container.shell("touch /pia/sick");
    container.wait_for_log("/scripts/healthcheck.sh: exit status 1", SOON);
    container.wait_for_log("Reconnected to", SOON);
    assert_eq!(world.pia.records().registrations().len(), 2);
}

/// Docker cuts the health check off, so its authors need no limit of their own.
#[test]
fn an_own_healthcheck_that_hangs_has_failed() {
    let world = World::new();
    let container = container(&world)
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "1")
        .script(
            "/scripts/healthcheck.sh",
            "[ ! -e /pia/hang ] || sleep 1000\n",
        )
        .connect();
    for server in world.pia.servers() {
        server.close_registration();
    }
    container.shell("touch /pia/hang");
    container.wait_for_log("/scripts/healthcheck.sh: no end within 30 s", LATER);
    // The search asks it about the old tunnel.
    container.wait_for_log("no server could be connected to", LATER);
    for server in world.pia.servers() {
        server.open_registration();
    }
    container.wait_for_log("Reconnected to", LATER);
}

// The shutdown.

#[test]
fn down_hooks_take_the_time_they_need() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_DOWN", "sleep 2; echo rested")
        .env("POST_DOWN", "echo is down")
        .start();
    container.wait_for_log(UP, SOON);
    let stopped = container.stop();
    assert!(
        stopped.status.success() && stopped.took > Duration::from_secs(2),
        "{stopped:?}"
    );
    assert!(in_order(
        &container.logs(),
        &["[pre-down] rested", "[post-down] is down"]
    ));
}

#[test]
fn a_second_signal_does_not_disturb_the_shutdown() {
    let world = World::new();
    let container = container(&world)
        .env("PRE_DOWN", "echo working; sleep 1; echo rested")
        .env("POST_DOWN", "echo is down")
        .start();
    container.wait_for_log(UP, SOON);
    container.signal(Signal::SIGTERM);
    container.wait_for_log("[pre-down] working", SOON);
    container.signal(Signal::SIGINT);
    assert_eq!(container.wait(SOON).code(), Some(0));
    assert!(in_order(
        &container.logs(),
        &["[pre-down] rested", "[post-down] is down"]
    ));
    assert!(!world.look("ip link").contains("wg0"));
}
