//! What fails in passing, or is held by others, leaves nothing behind: neither a gap in the rules
//! nor a belief.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use wireguard_pia::firewall_internals::{
    Backend, CancellationToken, Firewall, FirewallError, LocalAccess, Policy, Programs, Sealing,
    TunnelPolicy,
};

use crate::namespace::{BOTH, MARK, Namespace, install, iptables, lacking, run, saved};
use crate::rules::{bootstrap, closed, connected};

const WAYS: [&str; 3] = ["exit 1", "exit 4", "kill -KILL $$"];

/// An iptables that does `how` instead of a load for each `F` that is left in the file `plan`, and
/// nothing special for each `.`.
fn failing(namespace: &Namespace, backend: Backend, how: &str) -> Programs {
    let mut programs = Programs::find(backend, Path::new("/nonexistent")).unwrap();
    let plan = namespace.directory.path().join("plan");
    let plan = plan.display();
    let trouble = format!(
        "plan=$(cat {plan} 2>/dev/null)
         echo \"${{plan:1}}\" >{plan}
         [[ ${{plan:0:1}} == F ]] && {{ echo trouble >&2; {how}; }}"
    );
    install(namespace, &mut programs, "iptables-restore", &trouble);
    programs
}

fn plan(namespace: &Namespace, plan: &str) {
    fs::write(namespace.directory.path().join("plan"), plan).unwrap();
}

fn open(namespace: &Namespace, programs: Programs, first: &Policy) -> Firewall {
    let firewall = Firewall::new(programs, &namespace.bin(), false);
    Firewall::open_any(vec![firewall], Some(first)).unwrap()
}

/// What the kernel holds under the connected policy if nothing ever fails.
fn expected(backend: Backend) -> String {
    let namespace = Namespace::enter();
    let mut firewall = namespace.open(backend, &bootstrap());
    firewall.apply(&connected()).unwrap();
    saved(backend)
}

#[test]
fn loads_that_fail_in_a_row_change_nothing_in_the_end() {
    for backend in BOTH {
        let expected = expected(backend);
        for how in WAYS {
            for times in 1..=4 {
                let namespace = Namespace::enter();
                let programs = failing(&namespace, backend, how);
                plan(&namespace, &"F".repeat(times));
                let mut firewall = open(&namespace, programs, &bootstrap());
                plan(&namespace, &"F".repeat(times));
                firewall.apply(&connected()).unwrap();
                assert_eq!(saved(backend), expected, "{backend}: {how}, {times} times");
            }
        }
    }
}

#[test]
fn a_trouble_that_comes_and_goes_between_two_trials_is_no_missing_module() {
    let backend = Backend::NfTables;
    let expected = expected(backend);
    for pause in 1..=8 {
        for times in 1..=2 {
            let namespace = Namespace::enter();
            let programs = failing(&namespace, backend, "exit 1");
            let mut firewall = open(&namespace, programs, &bootstrap());
            plan(
                &namespace,
                &format!("F{}{}", ".".repeat(pause), "F".repeat(times)),
            );
            firewall.apply(&connected()).unwrap();
            assert_eq!(saved(backend), expected, "after {pause}, {times} times");
        }
    }
}

#[test]
fn a_long_trouble_is_an_error_and_leaves_no_belief() {
    for backend in BOTH {
        let expected = expected(backend);
        for how in WAYS {
            let namespace = Namespace::enter();
            let programs = failing(&namespace, backend, how);
            let mut firewall = open(&namespace, programs, &bootstrap());
            plan(&namespace, &"F".repeat(1000));
            assert!(matches!(
                firewall.apply(&connected()),
                Err(FirewallError::NotLoaded { .. })
            ));
            assert!(firewall.is_loaded(), "the former rules are in force");
            plan(&namespace, "");
            firewall.apply(&connected()).unwrap();
            assert_eq!(saved(backend), expected, "{backend}: {how}");
        }
    }
}

/// The rules of before stay in force.
#[test]
fn a_trouble_of_ip6tables_that_passes_switches_nothing_off_and_is_owed() {
    let by_ipv6 = |policy: Policy| Policy {
        name_servers_v6: vec![std::net::Ipv6Addr::LOCALHOST],
        ..policy
    };
    for backend in BOTH {
        let namespace = Namespace::enter();
        let mut programs = Programs::find(backend, Path::new("/nonexistent")).unwrap();
        let trouble = namespace.directory.path().join("trouble");
        let script = format!("[[ ! -e {} ]] || exit 1", trouble.display());
        install(&namespace, &mut programs, "ip6tables-restore", &script);
        let mut firewall = open(&namespace, programs, &closed());
        let before = saved(backend);
        fs::write(&trouble, "").unwrap();
        firewall.apply(&by_ipv6(closed())).unwrap();
        assert_eq!(firewall.sealing(), &Sealing::Whole);
        assert!(!firewall.is_settled());
        assert_eq!(saved(backend), before);
        assert!(!run("ip -6 rule").contains("blackhole"));
        let is_off = run("cat /proc/sys/net/ipv6/conf/default/disable_ipv6");
        assert_eq!(is_off.trim(), "0");
        fs::remove_file(&trouble).unwrap();
        firewall.apply(&by_ipv6(closed())).unwrap();
        assert!(firewall.is_settled() && saved(backend) != before);
    }
}

/// It is asked for and left out, as for IPv4; where a rule must not be left out, those of before
/// hold.
#[test]
fn what_the_kernel_lacks_for_ipv6_alone_is_learnt_from_a_later_load() {
    let range: LocalAccess = "in:[fd77::/64]:80/tcp".parse().unwrap();
    let tunnel = TunnelPolicy {
        interface: "wg0".into(),
        local: vec![("eth0".to_owned(), range)],
        ..TunnelPolicy::default()
    };
    let endpoint = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 1337);
    let opened = Policy::connected(MARK, endpoint, tunnel);
    for (lacked, is_settled) in [("-m addrtype", true), ("-s fd77", false)] {
        let namespace = Namespace::enter();
        let programs = lacking(&namespace, lacked);
        let mut firewall = open(&namespace, programs, &closed());
        firewall.apply(&opened).unwrap();
        assert_eq!(firewall.is_settled(), is_settled, "{lacked}");
        assert_eq!(firewall.sealing(), &Sealing::Whole, "{lacked}");
        let opens = saved(Backend::NfTables).contains("-s fd77::/64 -i eth0");
        assert_eq!(opens, is_settled, "{lacked}");
    }
}

#[test]
fn what_was_learnt_can_be_forgotten() {
    let namespace = Namespace::enter();
    let programs = lacking(&namespace, "-m mark");
    let mut firewall = open(&namespace, programs, &bootstrap());
    assert!(firewall.lacks_marks());
    firewall.apply(&connected()).unwrap();
    namespace.lack("nothing");
    firewall.forget_missing();
    firewall.apply(&connected()).unwrap();
    assert_eq!(saved(Backend::NfTables), expected(Backend::NfTables));
}

/// Locks of this thread's mount namespace are not those of other tests.
pub fn lock_of_its_own(namespace: &Namespace) -> File {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .unwrap();
    let lock = namespace.directory.path().join("xtables.lock");
    let file = File::create(&lock).unwrap();
    File::options()
        .create(true)
        .append(true)
        .open("/run/xtables.lock")
        .unwrap();
    mount(
        Some(&lock),
        "/run/xtables.lock",
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    file.lock().unwrap();
    file
}

#[test]
fn a_lock_that_others_hold_for_seven_seconds_is_waited_for() {
    let namespace = Namespace::enter();
    let lock = lock_of_its_own(&namespace);
    let started = Instant::now();
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_secs(7));
        drop(lock);
    });
    let _firewall = namespace.open(Backend::Legacy, &closed());
    assert!(started.elapsed() >= Duration::from_secs(7));
    assert!(saved(Backend::Legacy).contains(":OUTPUT DROP"));
    holder.join().unwrap();
}

#[test]
fn waiting_for_a_lock_heeds_a_stop() {
    let namespace = Namespace::enter();
    let _lock = lock_of_its_own(&namespace);
    let stop = CancellationToken::new();
    let requested = stop.clone();
    let stopper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        let at = Instant::now();
        requested.cancel();
        at
    });
    let bin = namespace.bin();
    let opened = Firewall::open(
        Some(Backend::Legacy),
        &bin,
        Some(&closed()),
        false,
        true,
        &stop,
    );
    let at = stopper.join().unwrap();
    assert!(opened.is_err());
    assert!(at.elapsed() < Duration::from_secs(10), "{:?}", at.elapsed());
}

#[test]
fn a_policy_that_a_user_opened_holds_until_the_close() {
    for backend in BOTH {
        let namespace = Namespace::enter();
        let mut firewall = namespace.open(backend, &bootstrap());
        firewall.apply(&connected()).unwrap();
        run(&format!("{} -P FORWARD ACCEPT", iptables(backend)));
        firewall.apply(&bootstrap()).unwrap();
        firewall.apply(&connected()).unwrap();
        let policies = || run(&format!("{} -S", iptables(backend)));
        assert!(policies().contains("-P FORWARD ACCEPT"), "{}", policies());
        assert!(policies().contains("-P OUTPUT DROP"), "{}", policies());
        firewall.set_policies_again();
        firewall.apply(&connected()).unwrap();
        assert!(policies().contains("-P FORWARD DROP"), "{}", policies());
    }
}
