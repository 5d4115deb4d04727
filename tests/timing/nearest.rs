//! `LOC=auto`, in a world where the servers are at different distances.

use std::time::Duration;

use harness::log_lines::UP;
use harness::waiting::LATER;
use harness::world::World;
use harness::world::builder::Kind;
use harness::world::container::Container;
use harness::world::delay::Delay;
use harness::world::recipe::Recipe;

use crate::PROGRAM;

const NEAR: Duration = Duration::from_millis(15);
const MIDDLE: Duration = Duration::from_millis(45);
const FAR: Duration = Duration::from_millis(90);

/// Three locations; no port can be forwarded in the nearest.
fn world() -> World {
    let world = World::builder()
        .servers("austria", Kind::Stable, 1)
        .servers("swiss", Kind::New, 1)
        .servers("us_chicago", Kind::New, 1)
        .build();
    world
        .pia
        .lists()
        .edit("us_chicago", |region| region.port_forward = false);
    world
}

fn distances(world: &World, distances: &[(&str, Duration)]) -> Delay {
    let of = |(id, delay): &(&str, Duration)| (world.pia.servers_of(id)[0].address(), *delay);
    world.delay_connects(
        &distances.iter().map(of).collect::<Vec<_>>(),
        Duration::from_millis(200),
    )
}

/// Chicago, Switzerland, Austria.
fn one_after_the_other(world: &World) -> Delay {
    let all = [("us_chicago", NEAR), ("swiss", MIDDLE), ("austria", FAR)];
    distances(world, &all)
}

fn to(world: &World, location: &str) -> Recipe {
    let recipe = world.container(PROGRAM).credentials();
    recipe.env("LOC", location)
}

#[track_caller]
fn location_chosen(world: &World, container: &Container) -> String {
    container.wait_for_log(UP, LATER);
    world.location_in_use()
}

#[test]
fn the_nearest_location_is_chosen() {
    let world = world();
    let _delay = one_after_the_other(&world);
    let container = to(&world, "auto").start();
    assert_eq!(location_chosen(&world, &container), "us_chicago");
    let shown = container
        .wait_for_log("Nearest locations: us_chicago", LATER)
        .text;
    assert!(
        shown.contains("swiss") && shown.find("swiss") < shown.find("austria"),
        "{shown}"
    );
}

/// "`fastest:swiss nl_amsterdam` the nearest of these" (README.md)
#[test]
fn of_those_that_are_listed_the_nearest_is_chosen() {
    let world = world();
    let _delay = one_after_the_other(&world);
    let container = to(&world, "fastest:austria, Switzerland").start();
    assert_eq!(location_chosen(&world, &container), "swiss");
    // It is all that is admitted and asked.
    let shown = container.wait_for_log("Nearest locations:", LATER).text;
    assert!(!shown.contains("us_chicago"), "{shown}");
}

#[test]
fn the_nearest_that_forwards_ports_is_chosen_where_one_is_wanted() {
    let world = world();
    let _delay = distances(
        &world,
        &[("us_chicago", NEAR), ("swiss", FAR), ("austria", MIDDLE)],
    );
    let container = to(&world, "auto").env("PORT_FORWARDING", "1").start();
    assert_eq!(location_chosen(&world, &container), "austria");
    assert!(!container.logs().contains("us_chicago"));
}

#[test]
fn the_next_is_chosen_where_the_nearest_fails() {
    let world = world();
    let _delay = one_after_the_other(&world);
    world.pia.servers_of("us_chicago")[0].refuse_registration("full");
    let container = to(&world, "auto").start();
    assert_eq!(location_chosen(&world, &container), "swiss");
}

/// All that lies between the start and the choice: login, list, and the measurement of all of the
/// list's locations.
#[test]
fn a_hundred_and_ninety_locations_are_measured_within_two_seconds() {
    let world = world();
    for number in 0..12 {
        world.pia.lists().edit(&format!("more{number}"), |_| ());
    }
    let round_trip = Duration::from_millis(20);
    let _delay = world.delay_connects(&[], round_trip);
    let container = to(&world, "auto").start();
    let chosen = container.wait_for_log("Nearest locations:", LATER);
    let took: Duration = chosen.at.saturating_duration_since(container.started());
    let count = container.wait_for_log("Verified server list", LATER).text;
    println!("{count}; chosen {took:?} after the start");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn the_nearest_comes_first_and_the_silent_last() {
    let world = World::new();
    let far = |id: &str, milliseconds| {
        world
            .pia
            .servers_of(id)
            .iter()
            .map(|server| (server.address(), Duration::from_millis(milliseconds)))
            .collect()
    };
    let delays: [Vec<_>; 2] = [far("swiss", 40), far("nl_amsterdam", 80)];
    let _delay = world.delay_connects(&delays.concat(), Duration::from_millis(150));
    world.pia.list_dead_server("atlantis", "atlantis1");
    let container = world
        .container(PROGRAM)
        .command(["wireguard-pia", "locations", "--ping", "--json"])
        .start();
    assert_eq!(container.wait(LATER).code(), Some(0));
    // There would be lines of progress beside it, were it a terminal's.
    let all: Vec<serde_json::Value> = serde_json::from_str(&container.logs()).unwrap();
    let latency = |index: usize| all[index]["latency_ms"].as_f64().unwrap();
    assert_eq!(
        (all[0]["id"].as_str(), all[1]["id"].as_str()),
        (Some("swiss"), Some("nl_amsterdam"))
    );
    assert!(
        latency(0) >= 40.0 && latency(0) < 80.0 && latency(1) >= 80.0,
        "{} {}",
        latency(0),
        latency(1)
    );
}
