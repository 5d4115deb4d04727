//! `locations`: where one can go, and how far it is.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::api_client::ApiClient;
use super::output::print;
use super::pia_files;
use crate::connect::location_table::{self, Row};
use crate::connect::progress::Progress;
use crate::connect::server_selection::latency;
use crate::connect::server_selection::locations;
use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::regions::{Location, ServerList};
use crate::settings::Environment;
use crate::system::cancellation::CancellationToken;
use crate::underlay::socket::Via;

/// List the locations that have a WireGuard server.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only those where ports can be forwarded.
    #[arg(short, long)]
    port_forward: bool,
    /// Only those of this country, by its code of two letters; may be repeated.
    #[arg(long, value_name = "CODE", value_parser = country)]
    country: Vec<String>,
    /// Measure how far each is, by TCP connects to port 1337; nearest first.
    #[arg(long)]
    ping: bool,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// PIA's certificate authority, for a meta server only (else PIA_CA_FILE, or the usual places).
    #[arg(short, long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Public key of the server list (else PIA_SERVERLIST_KEY_FILE, or the usual places).
    #[arg(short = 'k', long, value_name = "FILE")]
    list_key: Option<PathBuf>,
}

fn country(text: &str) -> Result<String, String> {
    let is_code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_code {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("a country code has two letters, such as CH".to_owned())
    }
}

/// Fetches the list and prints what was asked for.
///
/// # Errors
/// When the list cannot be had, or nothing is left of it.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let key = pia_files::LIST_KEY.find(arguments.list_key.as_deref(), environment)?;
    let client = ApiClient::from_environment(environment, arguments.ca.as_deref())?;
    let mut selection = client.server_selection(&key);
    let list = selection.server_list(stop)?;
    let locations = wanted(arguments, list)?;
    let rows = if arguments.ping {
        measured(locations, list.registration_port, client.hosts.via(), stop)
    } else {
        locations
            .into_iter()
            .map(|location| (location, None))
            .collect()
    };
    let text = if arguments.json {
        as_json(&rows, arguments.ping)
    } else {
        as_table(&rows, arguments.ping)
    };
    print(&text)
}

fn wanted(arguments: &Arguments, list: &ServerList) -> Result<Vec<Location>, Failure> {
    let usable: Vec<&Location> = list
        .locations
        .iter()
        .filter(|location| locations::is_usable(location))
        .collect();
    let is_of = |location: &Location, code: &String| location.country.eq_ignore_ascii_case(code);
    if let Some(none) = arguments
        .country
        .iter()
        .find(|code| !usable.iter().any(|location| is_of(location, code)))
    {
        let mut countries: Vec<&str> = usable
            .iter()
            .map(|location| location.country.as_str())
            .collect();
        countries.sort_unstable();
        countries.dedup();
        return Err(no_location(format!(
            "no location in {none}; there are some in {}",
            countries.join(" ")
        )));
    }
    let wanted: Vec<Location> = usable
        .into_iter()
        .filter(|location| {
            arguments.country.is_empty()
                || arguments.country.iter().any(|code| is_of(location, code))
        })
        .filter(|location| location.port_forward || !arguments.port_forward)
        .cloned()
        .collect();
    if wanted.is_empty() {
        return Err(no_location("no such location forwards ports"));
    }
    Ok(wanted)
}

fn no_location(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Location, Retry::Never, text)
}

/// Nearest first; those that did not answer come last, by id.
fn measured(
    locations: Vec<Location>,
    port: u16,
    via: &Via,
    stop: &CancellationToken,
) -> Vec<(Location, Option<Duration>)> {
    let progress = Progress::of(locations.len(), true);
    let answered = latency::nearest_first(locations.clone(), port, via, stop, |left| {
        progress.show(left);
    });
    drop(progress);
    let has_answered =
        |location: &Location| answered.iter().any(|(other, _)| other.id == location.id);
    let silent: Vec<_> = locations
        .into_iter()
        .filter(|location| !has_answered(location))
        .collect();
    let answered = answered
        .iter()
        .map(|(location, latency)| (location.clone(), Some(*latency)));
    answered
        .chain(silent.into_iter().map(|location| (location, None)))
        .collect()
}

fn as_table(rows: &[(Location, Option<Duration>)], latency: bool) -> String {
    let rows: Vec<Row<'_>> = rows
        .iter()
        .map(|(location, latency)| Row {
            location,
            latency: *latency,
        })
        .collect();
    location_table::full(&rows, latency)
}

fn as_json(rows: &[(Location, Option<Duration>)], is_measured: bool) -> String {
    let entry = |(location, latency): &(Location, Option<Duration>)| {
        let mut entry = json!({
            "id": location.id,
            "name": location.name,
            "country": location.country,
            "port_forward": location.port_forward,
            "virtual": location.geo,
        });
        if is_measured {
            // Microseconds are all that a connect can tell.
            let latency = json!(latency.map(|latency| latency.as_micros() as f64 / 1000.0));
            if let Some(fields) = entry.as_object_mut() {
                fields.insert("latency_ms".to_owned(), latency);
            }
        }
        entry
    };
    format!(
        "{:#}\n",
        serde_json::Value::Array(rows.iter().map(entry).collect())
    )
}
