//! Scripts and commands of the user's at the stages of a life.

use harness::simulator::faults::Api;
use harness::waiting::{SOON, wait_until};
use harness::world::network::{HOME, INSIDE};
use nix::sys::signal::Signal;

use crate::life::Life;
use crate::see::{
    Check, asked, closed, ends_with, file_has, file_is, file_lacks, leaves_by, logged, no_file,
    not_logged, owned, so, soon, stops_by,
};

pub fn lives() -> Vec<Life> {
    vec![
        stages(),
        scripts(),
        one_shell(),
        exported(),
        names(),
        network(),
        settings(),
        exit_in_pre_up(),
        kill_in_pre_up(),
        exit_in_post_up(),
        exit_in_post_reconnect(),
        exit_in_pre_down(),
        hanging_pre_up(),
        endless_post_up(),
    ]
}

/// A text that notes the stage, more words, working directory and user, and whether wg0 is there.
fn note(words: &str) -> String {
    let wg0 = "$([ -e /sys/class/net/wg0 ] && echo wg0)";
    format!("echo {words} $PWD $(id -u) {wg0} >>/pia/order")
}

fn stages() -> Life {
    let mut life = Life::of("stages");
    let mut expected = String::new();
    for (stage, variable, wg0) in [
        ("pre-up", "PRE_UP", ""),
        ("post-up", "POST_UP", " wg0"),
        ("pre-down", "PRE_DOWN", " wg0"),
        ("post-down", "POST_DOWN", ""),
    ] {
        life = life
            .env(variable, note(&format!("{stage} text")))
            .given(move |_, recipe| {
                let script = format!("#!/bin/sh\n{}\n", note(&format!("{stage} script $#")));
                recipe.script(format!("/pia/scripts/{stage}.sh"), script)
            });
        expected += &format!("{stage} script 0 /scripts 0{wg0}\n{stage} text /scripts 0{wg0}\n");
    }
    life.connects()
        .sees("the_stop_ends_with_0", stops_by(Signal::SIGTERM, 0))
        .sees(
            "scripts_then_texts_in_order_without_arguments_in_scripts_as_root",
            file_is("/pia/order", expected),
        )
}

fn scripts() -> Life {
    Life::of("hook_scripts")
        .env("GREETING", "good  day")
        .script(
            "/pia/scripts/pre-up.sh",
            "[[ $BASH ]] && echo \"$GREETING\" >/pia/first\nexit 3\n",
        )
        .file("/pia/scripts/post-up.sh", "#!/bin/sh\ntouch /pia/second\n")
        .env("PRE_UP", "echo out; echo err >&2; (exit 4)")
        .env("PRE_DOWN", "no-such-program")
        .connects()
        .sees(
            "a_script_needs_no_first_line",
            file_is("/pia/first", "good  day\n"),
        )
        .sees(
            "a_script_that_is_not_executable_is_skipped",
            no_file("/pia/second"),
        )
        .sees("that_is_warned_of", logged("post-up.sh"))
        .differs("A script that is there but not executable is warned of.")
        .sees("output_is_in_the_log", logged("out"))
        .sees("errors_too", logged("err"))
        .sees("with_the_hooks_name", logged("[pre-up] out"))
        .differs("Output is prefixed with the hook's name")
        .sees("a_failure_is_logged_with_its_status", logged("status 4"))
        .differs("a failure is logged with its status")
        .sees(
            "a_failing_hook_is_no_reason_to_stop",
            leaves_by("nl_amsterdam"),
        )
        .sees("nor_to_fail_at_the_stop", stops_by(Signal::SIGTERM, 0))
}

fn one_shell() -> Life {
    Life::of("one_shell")
        .env(
            "PRE_UP",
            "plain='one  two'; VPN_SINCE=5 EPOCH_X=6; greet() { echo \"hello $1\"; }; umask \
             027; cd /pia",
        )
        .env(
            "POST_UP",
            "sleep 600 & daemon=$!; set -f; POST_DOWN='echo replaced >/pia/replaced'",
        )
        .env(
            "PRE_DOWN",
            "echo \"$plain $VPN_SINCE$EPOCH_X\" >/pia/plain; greet you >/pia/greeting; pwd \
             >/pia/folder; kill $daemon && touch /pia/killed; echo $- >/pia/options",
        )
        .env("POST_DOWN", "echo original >/pia/replaced")
        .connects()
        .sees(
            "nothing_of_it_disturbs_the_tunnel",
            leaves_by("nl_amsterdam"),
        )
        .stops()
        .sees("variables_stay", file_is("/pia/plain", "one  two 56\n"))
        .sees("functions_stay", file_is("/pia/greeting", "hello you\n"))
        .sees("the_directory_stays", file_is("/pia/folder", "/pia\n"))
        .sees("the_umask_stays", owned("/pia/plain", (0, 0), 0o640))
        .sees(
            "background_processes_can_be_killed",
            file_is("/pia/killed", ""),
        )
        .sees(
            "hooks_can_set_later_hooks",
            file_is("/pia/replaced", "replaced\n"),
        )
        .sees("shell_options_do_not_stay", file_lacks("/pia/options", "f"))
        .differs("What is lost: shell options (`set`, `shopt`)")
}

fn exported() -> Life {
    Life::of("exported")
        .env("PORT_FORWARDING", "1")
        .env("ZONE", "here")
        .env(
            "PRE_UP",
            "export GREETING='good  day' PATH=/pia/bin:$PATH; unset ZONE",
        )
        .script("/pia/bin/greet", "#!/bin/sh\necho \"$GREETING\"\n")
        .script(
            "/pia/scripts/post-up.sh",
            "greet >/pia/script; echo ${ZONE-nowhere} >/pia/zone\n",
        )
        .env("POST_UP", "echo ${ZONE-nowhere} >/pia/zone-of-text")
        .env("PORT_SCRIPT", "greet >/pia/told; true")
        .connects()
        .sees(
            "is_there_for_scripts",
            file_is("/pia/script", "good  day\n"),
        )
        .sees(
            "is_there_for_the_port_script",
            file_is("/pia/told", "good  day\n"),
        )
        .sees(
            "what_is_unset_is_gone_for_texts",
            file_is("/pia/zone-of-text", "nowhere\n"),
        )
        .sees("and_for_scripts", file_is("/pia/zone", "nowhere\n"))
}

fn exit_in_post_reconnect() -> Life {
    Life::of("exit_in_post_reconnect")
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "1")
        .env("POST_RECONNECT", "exit 6")
        .env("POST_DOWN", "echo down hooks run")
        .script("/scripts/healthcheck.sh", "[ ! -e /pia/fault ]\n")
        .connects()
        .does(|stage| {
            stage.container.shell("touch /pia/fault");
        })
        .sees("ends_the_container_with_its_status", ends_with(6))
        .sees("without_down_hooks", not_logged("down hooks run"))
}

fn names() -> Life {
    Life::of("hook_names")
        .env("VPN_LOCATION", "mine")
        .script(
            "/pia/scripts/post-up.sh",
            "echo ${MONITOR_RETRIES-none} >/pia/default\n",
        )
        .env("PORT_FILE", "/pia-shared/other")
        .env(
            "POST_UP",
            "echo $outgoing_iface $outgoing_addr $portfile $tokenfile $wg_conf >/pia/names; echo \
             ${original_nameserver-none} >/pia/nameserver; echo $VPN_LOCATION >/pia/location; echo \
             $LOC >/pia/loc",
        )
        .connects()
        .sees(
            "the_shells_names_are_there",
            file_is(
                "/pia/names",
                "eth0 172.18.0.2 /pia-shared/other /pia/.token /etc/wireguard/wg0.conf\n",
            ),
        )
        .sees("the_environment_too", file_is("/pia/loc", "nl_amsterdam\n"))
        .sees("not_all_names_are", file_is("/pia/nameserver", "none\n"))
        .differs("`original_nameserver` and `CURL_OVERRIDE_PARAMS` are not there")
        .sees(
            "defaults_are_not_exported",
            file_is("/pia/default", "none\n"),
        )
        .differs("are there where the user set them")
        .sees(
            "the_location_is_known",
            file_is("/pia/location", "nl_amsterdam\n"),
        )
        .differs("are set for hooks, over what a user may have set under these names.")
}

/// This came by UDP from the container's public address without a tunnel.
fn arrived_untunnelled(text: &'static str) -> Check {
    soon(move |stage| {
        let arrivals = stage.world.elsewhere.all();
        let there = arrivals.iter().any(|it| it.text == text && it.from == HOME);
        so(there, || format!("{arrivals:?}"))
    })
}

fn network() -> Life {
    let page = format!(
        "exec 3<>/dev/tcp/{INSIDE}/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3"
    );
    Life::of("hook_network")
        .env("PRE_UP", "echo before >/dev/udp/203.0.113.66/9")
        .env("POST_UP", format!("{page} >/pia/up"))
        .env("PRE_DOWN", format!("{page} >/pia/down"))
        .env(
            "POST_DOWN",
            "ping -c 1 -W 2 172.18.0.1 >/dev/null && touch /pia/gateway; echo after \
             >/dev/udp/203.0.113.66/9",
        )
        .connects()
        .sees("pre_up_has_the_open_network", arrived_untunnelled("before"))
        .sees(
            "post_up_has_the_tunnel",
            soon(|stage| {
                let seen = stage.container.read("/pia/up").unwrap_or_default();
                so(seen.starts_with("198.51.100."), || seen.clone())
            }),
        )
        .stops()
        .sees(
            "pre_down_has_the_tunnel",
            soon(|stage| {
                let seen = stage.container.read("/pia/down").unwrap_or_default();
                so(seen.starts_with("198.51.100."), || seen.clone())
            }),
        )
        .sees(
            "post_down_reaches_its_networks",
            file_is("/pia/gateway", ""),
        )
        .sees(
            "and_nothing_else",
            soon(|stage| {
                let arrivals = stage.world.elsewhere.all();
                so(arrivals.iter().all(|it| it.text != "after"), || {
                    "it got out".to_owned()
                })
            }),
        )
}

fn settings() -> Life {
    Life::of("pre_up_settings")
        .env("LOC", "nowhere")
        .env("USER", "")
        .file("/pia/wish", "swiss\n")
        .env(
            "PRE_UP",
            "LOC=$(cat /pia/wish); USER=p1234567; MTU=1333; PORT_FORWARDING=1; \
             POST_UP=\"touch /pia/wished; echo the start is ove''r for \\$BASHPID\"",
        )
        .connects()
        .sees("the_location", leaves_by("swiss"))
        .sees("the_user", asked(Api::Token, 1))
        .sees("the_mtu", file_has("/etc/wireguard/wg0.conf", "MTU = 1333"))
        .sees(
            "port_forwarding",
            soon(|stage| {
                let file = stage
                    .container
                    .read("/pia-shared/port.dat")
                    .unwrap_or_default();
                let bound = stage.world.pia.bound_ports();
                so(
                    bound
                        .iter()
                        .any(|bound| format!("{}\n", bound.port) == file),
                    || format!("{file:?}, {bound:?}"),
                )
            }),
        )
        .sees("another_hook", file_is("/pia/wished", ""))
}

fn exit_in_pre_up() -> Life {
    Life::of("exit_in_pre_up")
        .env("PRE_UP", "exit 7")
        .env("POST_DOWN", "echo down hooks run")
        .starts()
        .sees("ends_the_container_with_its_status", ends_with(7))
        .sees("before_pia_is_asked_anything", asked(Api::Token, 0))
        .sees("without_down_hooks", not_logged("down hooks run"))
        .sees("the_network_is_closed_then", closed())
        .differs("kept; the kill switch stays closed")
}

fn kill_in_pre_up() -> Life {
    Life::of("kill_in_pre_up")
        .env("PRE_UP", "[ -e /pia/mounted ] || kill $$; touch /pia/on")
        .env("POST_DOWN", "touch /pia/down")
        .starts()
        .sees("ends_the_container_with_0", ends_with(0))
        .sees("before_pia_is_asked_anything", asked(Api::Token, 0))
        .sees("the_text_goes_on_no_further", no_file("/pia/on"))
        .sees("down_hooks_run", file_is("/pia/down", ""))
}

fn exit_in_post_up() -> Life {
    Life::of("exit_in_post_up")
        .env("POST_UP", "exit 5")
        .env("POST_DOWN", "echo down hooks run")
        .starts()
        .sees("ends_the_container_with_its_status", ends_with(5))
        .sees("without_down_hooks", not_logged("down hooks run"))
        .sees("the_network_is_closed_then", closed())
}

fn exit_in_pre_down() -> Life {
    Life::of("exit_in_pre_down")
        .env("PRE_DOWN", "exit 4")
        .env("POST_DOWN", "echo the last hook runs")
        .connects()
        .sees(
            "ends_the_container_with_its_status",
            stops_by(Signal::SIGTERM, 4),
        )
        .sees("without_the_last_hook", not_logged("the last hook runs"))
        .sees("the_network_is_closed_then", closed())
}

fn hanging_pre_up() -> Life {
    Life::of("hanging_pre_up")
        .env("PRE_UP", "sleep 600")
        .env("POST_DOWN", "touch /pia/down")
        .starts()
        .does(|stage| {
            // A signal between two commands would be taken note of.
            wait_until("the hook", SOON, || {
                stage.shell("grep -qx sleep /proc/[0-9]*/comm").0 == Some(0)
            });
        })
        .sees("a_stop_ends_it", stops_by(Signal::SIGTERM, 0))
        .differs("A stop ends a running hook and all that it started")
        .sees("down_hooks_run", file_is("/pia/down", ""))
        .differs("A stop ends a running hook and all that it started")
}

fn endless_post_up() -> Life {
    Life::of("endless_post_up")
        .env("RECONNECT", "1")
        .env("MONITOR_INTERVAL", "1")
        .env("MONITOR_RETRIES", "1")
        .env("POST_UP", "echo it wait''s; sleep 600")
        .script(
            "/scripts/healthcheck.sh",
            "[ ! -e /pia/sick ] || { rm /pia/sick; exit 1; }\n",
        )
        .starts()
        .until("it waits")
        .does(|stage| {
            stage.container.shell("touch /pia/sick");
        })
        .sees(
            "does_not_keep_the_monitor_from_starting",
            soon(|stage| {
                let known = stage.world.pia.records();
                let again = known.wait_for(Api::AddKey, 2, stage.patience.min(SOON));
                so(again, || "no reconnect".to_owned())
            }),
        )
        .differs("In the original a `POST_UP` that waits for the port file, or never ends, keeps")
}
