//! The forwarded port.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use harness::simulator::faults::Api;
use harness::waiting::SOON;

use super::locations::without_forwarding;
use crate::life::Life;
use crate::see::{
    Check, asked, ends_with, file_is, healthy, leaves_by, logged, no_file, not_logged, now, owned,
    port_leads_to, shell, so, soon, stays_until_stopped, unhealthy, wait_for_port,
};

pub fn lives() -> Vec<Life> {
    vec![
        forwarded(),
        not_wanted(),
        existing_file(),
        cleaned_up(),
        elsewhere(),
        missing_folder(),
        device(),
        link(),
        awaited(),
        kept(),
        not_kept(),
        stored(),
        stored_and_refused(),
        at_a_location_without(),
        fatal(),
        refused_for_a_while(),
        busy(),
        own_pf_success(),
        for_a_user(),
    ]
}

fn forwarding(name: &'static str) -> Life {
    Life::of(name).env("PORT_FORWARDING", "1")
}

/// The file says the port that is bound.
fn told(path: &'static str, before: &'static str) -> Check {
    soon(move |stage| {
        let text = stage.container.read(path).unwrap_or_default();
        let bound = stage.world.pia.bound_ports();
        let expected = |port: u16| format!("{before}{port}\n") == text;
        so(bound.iter().any(|bound| expected(bound.port)), || {
            format!("{text:?}, bound: {bound:?}")
        })
    })
}

fn forwarded() -> Life {
    forwarding("port")
        .env(
            "PORT_SCRIPT",
            "echo $PWD >/pia-shared/folder; echo told >/pia-shared/told",
        )
        .connects()
        .does(|stage| {
            wait_for_port(stage);
        })
        .sees("is_in_the_file", told("/pia-shared/port.dat", ""))
        .sees(
            "which_all_can_read",
            owned("/pia-shared/port.dat", (0, 0), 0o644),
        )
        .sees("is_in_the_log", logged("Forwarding on port "))
        .sees(
            "leads_to_the_container",
            port_leads_to(|world| world.client()),
        )
        .sees(
            "another_port_does_not",
            now(|stage| {
                let bound = stage.world.pia.bound_ports().remove(0);
                let (listener, other) = stage.world.client().listen();
                let server = stage.world.pia.server(&bound.server);
                server.forward_port(other, bound.address);
                let kept = stage
                    .world
                    .internet()
                    .is_kept_from((server.address(), other));
                drop(listener);
                so(kept, || "it does, too".to_owned())
            }),
        )
        .sees("is_healthy", healthy())
        .sees(
            "the_script_runs_in_scripts",
            file_is("/pia-shared/folder", "/scripts\n"),
        )
        .sees("one_signature_is_enough", asked(Api::GetSignature, 1))
        .sees("is_not_stored", no_file("/pia/portsig.json"))
        .sees(
            "is_no_process_of_its_own",
            shell("cat /proc/[0-9]*/comm | grep -x pf.sh", 1, ""),
        )
        .differs("A process called pf.sh")
        .stops()
        .sees(
            "the_file_stays_after_the_stop",
            told("/pia-shared/port.dat", ""),
        )
}

fn not_wanted() -> Life {
    Life::of("no_port")
        .connects()
        .sees("is_asked_for_unless_wanted", asked(Api::GetSignature, 0))
        .sees("is_said", not_logged("Forwarding on port"))
}

fn existing_file() -> Life {
    forwarding("port_file_of_others")
        .env("PORT_SCRIPT", "echo >/pia-shared/told")
        .file("/pia-shared/port.dat", "a former text")
        .does(|stage| {
            let path = stage.container.path("/pia-shared/port.dat");
            chown(&path, Some(1000), Some(1001)).expect("we are root");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).expect("we are root");
            let inode = fs::metadata(&path).expect("it is there").ino();
            stage.note(inode.to_string());
        })
        .connects()
        .sees("is_written", told("/pia-shared/port.dat", ""))
        .sees(
            "keeps_owner_and_mode",
            owned("/pia-shared/port.dat", (1000, 1001), 0o664),
        )
        .sees(
            "keeps_its_inode",
            now(|stage| {
                let data = fs::metadata(stage.container.path("/pia-shared/port.dat"));
                let inode = data.expect("it is there").ino().to_string();
                so(inode == stage.noted[0], || inode.clone())
            }),
        )
}

fn cleaned_up() -> Life {
    Life::of("port_file_cleanup")
        .env("PORT_FILE_CLEANUP", "1")
        .env("PRE_DOWN", "cp /pia-shared/port.dat /pia/before")
        .env("POST_DOWN", "ls /pia-shared >/pia/after")
        .file("/pia-shared/port.dat", "1\n")
        .connects()
        .sees("removes_it_at_the_start", no_file("/pia-shared/port.dat"))
        .does(|stage| {
            stage.container.shell("echo 2 >/pia-shared/port.dat");
        })
        .stops()
        .sees("and_at_the_stop", no_file("/pia-shared/port.dat"))
        .sees("after_the_pre_down_hook", file_is("/pia/before", "2\n"))
        .sees("before_the_post_down_hook", file_is("/pia/after", ""))
}

fn elsewhere() -> Life {
    forwarding("port_file_elsewhere")
        .env("PORT_FILE", "/pia/my port")
        .connects()
        .sees("is_written", told("/pia/my port", ""))
        .sees("the_usual_one_is_not", no_file("/pia-shared/port.dat"))
}

fn missing_folder() -> Life {
    forwarding("port_file_in_a_missing_folder")
        .env("PORT_FILE", "/pia/new/port")
        .connects()
        .sees("is_forwarded", logged("Forwarding on port"))
        .sees("is_written", told("/pia/new/port", ""))
        .differs("a missing folder is made")
}

fn device() -> Life {
    forwarding("port_file_that_is_a_device")
        .env("PORT_FILE", "/dev/null")
        .connects()
        .sees("is_forwarded", logged("Forwarding on port"))
        .sees("stays_one", shell("[[ -c /dev/null ]]", 0, ""))
}

fn link() -> Life {
    forwarding("port_file_that_is_a_link")
        .env("PORT_FILE", "/pia/link")
        .does(|stage| {
            symlink("/pia/target", stage.container.path("/pia/link")).expect("a new link");
        })
        .connects()
        .sees("is_followed", told("/pia/target", ""))
}

fn awaited() -> Life {
    let wait =
        "until [ -s /pia-shared/port.dat ]; do sleep 0.1; done; cp /pia-shared/port.dat /pia/seen";
    forwarding("port_file_that_post_up_waits_for")
        .env("POST_UP", wait)
        .connects()
        .sees("is_written_meanwhile", told("/pia/seen", ""))
}

/// The port of the last life, noted.
fn note_port(life: Life) -> Life {
    life.does(|stage| {
        let port = wait_for_port(stage).to_string();
        stage.note(port);
    })
}

fn same_port(is: bool) -> Check {
    now(move |stage| {
        let ports = &stage.noted[stage.noted.len() - 2..];
        so((ports[0] == ports[1]) == is, || format!("{ports:?}"))
    })
}

fn kept() -> Life {
    let life = forwarding("port_persist")
        .env("PORT_PERSIST", "1")
        .connects();
    let life = note_port(life)
        .sees(
            "stores_the_answer",
            shell(
                "jq -r .payload /pia/portsig.json | base64 -d | jq .port",
                0,
                "",
            ),
        )
        .sees(
            "for_itself_alone",
            owned("/pia/portsig.json", (0, 0), 0o600),
        )
        .differs("Mended: 0600, as the account token is in it")
        .stops()
        .does(|stage| {
            for server in stage.world.pia.servers() {
                server.forget_ports();
            }
        })
        .connects();
    note_port(life)
        .sees("keeps_the_port", same_port(true))
        .sees(
            "one_signature_serves_both_lives",
            asked(Api::GetSignature, 1),
        )
}

fn not_kept() -> Life {
    let life = forwarding("port_of_the_next_life").connects();
    note_port(life)
        .stops()
        .connects()
        .does(|stage| {
            let records = stage.world.pia.records();
            assert!(records.wait_for(Api::GetSignature, 2, SOON));
        })
        .sees("is_a_new_one", asked(Api::GetSignature, 2))
}

fn stored() -> Life {
    forwarding("stored_signature")
        .env("PORT_PERSIST", "1")
        .given(|world, recipe| {
            let answer = world.pia.port_forwarding().issue(&world.pia.issue_token());
            recipe.file("/pia/portsig.json", answer + "\n")
        })
        .connects()
        .sees("is_used", told("/pia-shared/port.dat", ""))
        .sees("saves_a_new_one", asked(Api::GetSignature, 0))
}

fn stored_and_refused() -> Life {
    forwarding("stored_signature_that_is_refused")
        .env("PORT_PERSIST", "1")
        .given(|world, recipe| {
            let answer = world.pia.port_forwarding().issue(&world.pia.issue_token());
            world.pia.port_forwarding().forget_signatures();
            recipe.file("/pia/portsig.json", answer + "\n")
        })
        .connects()
        .sees("is_followed_by_a_new_one", told("/pia-shared/port.dat", ""))
        .sees("which_is_asked_for_once", asked(Api::GetSignature, 1))
}

fn at_a_location_without() -> Life {
    forwarding("port_at_a_location_without")
        .in_world(without_forwarding)
        .env("LOC", "us_chicago")
        .env("PORT_FATAL", "1")
        .env("EXIT_ON_FATAL", "1")
        .connects()
        .sees("is_warned_of", logged("Warning: Port forwarding"))
        .sees("carries", leaves_by("us_chicago"))
        .sees("no_port_is_told", no_file("/pia-shared/port.dat"))
        .sees("is_not_fatal", stays_until_stopped())
}

fn fatal() -> Life {
    forwarding("port_fatal")
        .env("PORT_FATAL", "1")
        .env("EXIT_ON_FATAL", "1")
        .does(|stage| stage.world.pia.port_busy())
        .starts()
        .sees("ends_the_container", ends_with(1))
        .differs("`PORT_FATAL=1` works: lost for 10 minutes")
}

fn refused_for_a_while() -> Life {
    forwarding("port_refused_for_a_while")
        .does(|stage| stage.world.pia.fail_times(Api::GetSignature, 403, 1))
        .connects()
        .sees("is_had_at_last", told("/pia-shared/port.dat", ""))
        .differs("It never gives up: passing failures are retried")
}

fn busy() -> Life {
    forwarding("port_that_is_not_bound")
        .does(|stage| stage.world.pia.hang(Api::BindPort))
        .connects()
        .sees("is_told_to_nobody", no_file("/pia-shared/port.dat"))
        .sees("is_not_healthy", unhealthy())
        .differs("Healthy before the port is bound")
}

fn own_pf_success() -> Life {
    forwarding("own_pf_success")
        .env("PORT_SCRIPT", "touch /pia-shared/ours")
        .script(
            "/scripts/pf_success.sh",
            "#!/bin/bash\necho \"$# in $PWD: $1\" >/pia-shared/own\n",
        )
        .connects()
        .sees(
            "is_run_with_the_port",
            told("/pia-shared/own", "1 in /scripts: "),
        )
        .sees("the_port_file_is_written", told("/pia-shared/port.dat", ""))
        .sees("port_script_is_not_run", no_file("/pia-shared/ours"))
        .sees(
            "no_rule_is_added",
            now(|stage| {
                let bound = stage.world.pia.bound_ports().remove(0);
                let rules = stage.world.look("iptables-save");
                so(!rules.contains(&bound.port.to_string()), || rules.clone())
            }),
        )
}

fn for_a_user() -> Life {
    forwarding("port_file_of_a_user")
        .env("PUID", "1000")
        .env("PGID", "1001")
        .connects()
        .sees(
            "is_theirs",
            owned("/pia-shared/port.dat", (1000, 1001), 0o644),
        )
        .differs("Here: owner and mode of the files in `/pia-shared`.")
}
