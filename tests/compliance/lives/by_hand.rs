//! The scripts in /scripts, run by hand.

use harness::simulator::account::{PASSWORD, USER};
use harness::simulator::faults::Api;

use crate::life::Life;
use crate::see::{Check, file_has, file_is, no_file, now, owned, shell, so, soon};

pub fn lives() -> Vec<Life> {
    vec![
        pia_auth(),
        pia_auth_by_meta(),
        wg_gen(),
        wg_gen_failures(),
        pf(),
        pf_success(),
        healthcheck(),
    ]
}

const WG_GEN: &str = "/scripts/wg-gen.sh -t /pia/token -k /RegionsListPubKey.pem -c /rsa_4096.crt";

/// Words run in the container end so; what they print goes to `judge`.
fn run(words: &'static [&'static str], status: i32, judge: fn(&str) -> bool) -> Check {
    now(move |stage| {
        let words: Vec<&str> = words
            .iter()
            .map(|word| match *word {
                "USER" => USER,
                "PASSWORD" => PASSWORD,
                other => other,
            })
            .collect();
        let output = stage.container.exec(&words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        so(output.status.code() == Some(status) && judge(&text), || {
            format!(
                "{}: {text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )
        })
    })
}

fn any(_: &str) -> bool {
    true
}

fn is_token(text: &str) -> bool {
    text.len() == 129
        && text
            .trim()
            .chars()
            .all(|it| it.is_alphanumeric() || "-_=".contains(it))
}

fn nothing(text: &str) -> bool {
    text.is_empty()
}

fn pia_auth() -> Life {
    Life::by_hand("pia_auth")
        .env("USER", "")
        .env("PASS", "")
        .sees(
            "prints_a_token_alone",
            run(
                &["/scripts/pia-auth.sh", "-u", "USER", "-p", "PASSWORD"],
                0,
                is_token,
            ),
        )
        .sees(
            "values_may_be_attached",
            run(
                &["/scripts/pia-auth.sh", "-up1234567", "-p", "PASSWORD"],
                0,
                is_token,
            ),
        )
        .sees(
            "a_refused_login_is_1",
            run(
                &["/scripts/pia-auth.sh", "-u", "USER", "-p", "wrong"],
                1,
                nothing,
            ),
        )
        .sees("no_options_are_1", run(&["/scripts/pia-auth.sh"], 1, any))
        .sees(
            "an_unknown_option_is_1",
            run(&["/scripts/pia-auth.sh", "-x"], 1, any),
        )
        .sees(
            "the_environment_will_do",
            now(|stage| {
                let words = [
                    "env".to_owned(),
                    format!("USER={USER}"),
                    format!("PASS={PASSWORD}"),
                ];
                let words = [&words[..], &["/scripts/pia-auth.sh".to_owned()]].concat();
                let (status, text) = stage.exec(&words);
                so(status == Some(0) && is_token(&text), || text.clone())
            }),
        )
        .differs("pia-auth.sh without options")
}

fn pia_auth_by_meta() -> Life {
    Life::by_hand("pia_auth_by_a_meta_server")
        .does(|stage| stage.world.begin(harness::world::internet::Outage::Api))
        .sees(
            "prints_a_token",
            run(
                &[
                    "/scripts/pia-auth.sh",
                    "-u",
                    "USER",
                    "-p",
                    "PASSWORD",
                    "-i",
                    "198.51.100.11",
                    "-n",
                    "meta-amsterdam447",
                    "-o",
                    "443",
                    "-c",
                    "/rsa_4096.crt",
                ],
                0,
                is_token,
            ),
        )
}

/// A token in `/pia/token`.
fn with_token(name: &'static str) -> Life {
    Life::by_hand(name).given(|world, recipe| recipe.file("/pia/token", world.pia.issue_token()))
}

fn wg_gen() -> Life {
    with_token("wg_gen")
        .sees("explains_itself", shell("/scripts/wg-gen.sh", 0, "-t"))
        .sees(
            "an_unknown_option_is_1",
            run(&["/scripts/wg-gen.sh", "-x"], 1, any),
        )
        .sees(
            "lists_locations_as_objects",
            shell(
                "/scripts/wg-gen.sh -a | sed -n '/^{/,$p' | jq -r 'select(.id == \"swiss\").name'",
                0,
                "Switzerland",
            ),
        )
        .sees(
            "writes_a_configuration",
            shell(format!("{WG_GEN} -l swiss -o /pia/wg.conf"), 0, ""),
        )
        .sees(
            "for_all_addresses",
            file_has("/pia/wg.conf", "AllowedIPs = 0.0.0.0/0"),
        )
        .sees(
            "with_pias_name_servers",
            now(|stage| {
                let text = stage.container.read("/pia/wg.conf").unwrap_or_default();
                let line = text
                    .lines()
                    .find(|line| line.starts_with("DNS"))
                    .unwrap_or_default();
                let line = line.replace(' ', "");
                so(line == "DNS=10.0.0.243,10.0.0.242", || text.clone())
            }),
        )
        .sees(
            "which_only_its_owner_reads",
            owned("/pia/wg.conf", (0, 0), 0o600),
        )
        .differs("MTU 576 to 65535, mode 0600")
        .sees(
            "takes_name_servers_and_mtu",
            shell(
                format!("{WG_GEN} -l swiss -o /pia/own.conf -d 9.9.9.9 -m 1333"),
                0,
                "",
            ),
        )
        .sees(
            "writes_name_servers",
            file_has("/pia/own.conf", "DNS = 9.9.9.9"),
        )
        .sees("writes_the_mtu", file_has("/pia/own.conf", "MTU = 1333"))
        .sees(
            "of_an_option_given_twice_the_last_value_counts",
            shell(format!("{WG_GEN} -l nowhere -l swiss -o /pia/twice"), 0, ""),
        )
        .sees(
            "a_server_by_hand_needs_no_location",
            shell(
                format!(
                    "PIA_IP=198.51.100.11 PIA_CN=amsterdam447 PIA_PORT=1337 {WG_GEN} -o /pia/hand"
                ),
                0,
                "",
            ),
        )
        .sees(
            "and_is_the_one",
            file_has("/pia/hand", "Endpoint = 198.51.100.11:1337"),
        )
}

fn wg_gen_failures() -> Life {
    with_token("wg_gen_failures")
        .env("CURL_RETRY", "0")
        .sees(
            "no_such_location_is_3",
            shell(format!("{WG_GEN} -l nowhere -o /pia/wg.conf"), 3, ""),
        )
        .sees(
            "a_refused_token_is_2",
            shell(
                format!("echo no >/pia/bad; {WG_GEN} -t /pia/bad -l swiss -o /pia/wg.conf"),
                2,
                "",
            ),
        )
        .sees(
            "no_location_is_3",
            shell(format!("LOC= {WG_GEN} -o /pia/wg.conf"), 3, ""),
        )
        .sees(
            "an_mtu_out_of_range_is_1",
            shell(format!("{WG_GEN} -l swiss -m 100 -o /pia/wg.conf"), 1, ""),
        )
        .differs("the list is always verified, MTU 576 to 65535")
        .does(|stage| {
            for server in stage.world.pia.servers() {
                server.refuse_registration("no room");
            }
        })
        .sees(
            "a_refused_registration_is_4",
            shell(format!("{WG_GEN} -l swiss -o /pia/wg.conf"), 4, ""),
        )
        .does(|stage| stage.world.pia.bad_list_signature())
        .sees(
            "a_list_that_is_not_pias_is_5",
            shell(format!("{WG_GEN} -l swiss -o /pia/wg.conf"), 5, ""),
        )
        .sees(
            "without_a_key_too",
            shell(
                "/scripts/wg-gen.sh -t /pia/token -c /rsa_4096.crt -l swiss -o /pia/wg.conf",
                5,
                "",
            ),
        )
        .differs("the list is always verified, MTU 576 to 65535")
        .does(|stage| stage.world.pia.fail_times(Api::List, 503, 100))
        .sees(
            "a_list_that_is_down_is_5",
            shell(format!("{WG_GEN} -l swiss -o /pia/wg.conf"), 5, ""),
        )
}

/// With the gateway and the name of the server in use.
const PF: &str = "/scripts/pf.sh -t /pia/.token -i $(sed -n 's/^#pf api ip: //p' \
                  /etc/wireguard/wg0.conf) -n $(sed -n 's/^#cn: //p' /etc/wireguard/wg0.conf) -f \
                  wg0 -c /rsa_4096.crt";

fn pf() -> Life {
    Life::of("pf")
        .script("/pia/hook.sh", "#!/bin/sh\necho hook \"$1\" >/pia/hook\n")
        .connects()
        .sees("explains_itself", shell("/scripts/pf.sh", 0, "-t"))
        .sees(
            "an_unknown_option_is_1",
            run(&["/scripts/pf.sh", "-x"], 1, any),
        )
        .does(|stage| {
            let more = "-p /pia/port -s /pia/hook.sh -r /pia/signature";
            stage.container.shell(&format!(
                "({PF} {more}; echo $? >/pia/status) >/pia/output 2>&1 & echo $! >/pia/pid"
            ));
        })
        .sees(
            "forwards_a_port_and_writes_it",
            soon(|stage| {
                let text = stage.container.read("/pia/port").unwrap_or_default();
                let bound = stage.world.pia.bound_ports();
                so(
                    bound.iter().any(|it| format!("{}\n", it.port) == text),
                    || format!("{text:?} {:?}", stage.container.read("/pia/output")),
                )
            }),
        )
        .sees(
            "says_so",
            shell("grep 'Forwarding on port' /pia/output", 0, ""),
        )
        .sees(
            "runs_the_hook_with_it",
            soon(|stage| {
                let text = stage.container.read("/pia/hook").unwrap_or_default();
                let port = stage.container.read("/pia/port").unwrap_or_default();
                so(text == format!("hook {port}"), || text.clone())
            }),
        )
        .sees(
            "stores_the_signature",
            shell("jq -r .status /pia/signature", 0, "OK"),
        )
        .sees("runs_on", no_file("/pia/status"))
        .does(|stage| {
            stage.container.shell("pkill -TERM -P $(</pia/pid)");
        })
        .sees("a_stop_is_0", file_is("/pia/status", "0\n"))
        .does(|stage| stage.world.pia.refuse_signature())
        .sees("a_refusal_is_1", shell(PF, 1, ""))
}

fn pf_success() -> Life {
    let rules = |stage: &crate::life::Stage| {
        let rules = stage.world.look("iptables-save -t filter");
        let port = rules.lines().filter(|line| line.contains("--dport 4711 "));
        port.map(str::to_owned).collect::<Vec<_>>()
    };
    Life::of("pf_success")
        .env("PORT_SCRIPT", "echo told >/pia/told")
        .connects()
        .sees("is_0", shell("/scripts/pf_success.sh 4711", 0, ""))
        .sees(
            "opens_the_port",
            now(move |stage| {
                let rules = rules(stage);
                let both = ["-p tcp", "-p udp"];
                let has = |protocol: &&str| rules.iter().any(|rule| rule.contains(protocol));
                so(both.iter().all(has), || format!("{rules:?}"))
            }),
        )
        .sees("runs_the_script", file_has("/pia/told", "told 4711"))
        .sees(
            "adds_no_rule_twice",
            now(move |stage| {
                stage.shell("/scripts/pf_success.sh 4711");
                let rules = rules(stage);
                so(rules.len() == 2, || format!("{rules:?}"))
            }),
        )
        .differs("rules are not added twice")
}

fn healthcheck() -> Life {
    Life::by_hand("healthcheck").sees(
        "is_1_without_a_tunnel",
        run(&["/scripts/healthcheck.sh"], 1, any),
    )
}
