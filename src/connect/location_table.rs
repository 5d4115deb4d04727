//! Locations as a table for people, never wider than 80 columns, the name last because it may be
//! cut; and as the original's scripts printed them.

use std::time::Duration;

use serde_json::json;

use super::server_selection::locations::is_usable;
use crate::pia::regions::{Location, ServerList};

const MAX_WIDTH: usize = 80;
/// A column is no wider; the few longer ids (`nl_netherlands_streaming_optimized`) shift their own
/// line alone.
const MAX_COLUMN_WIDTH: usize = 22;

/// What an empty `LOC` and `wg-gen.sh -a` print: for programs that read standard output from the
/// first `{` on, an object for each location with a WireGuard server, in the list's order.
pub fn objects(list: &ServerList) -> String {
    let mut text = String::from("Available location ids:\n");
    for location in list.locations.iter().filter(|location| is_usable(location)) {
        let object = json!({
            "name": location.name,
            "id": location.id,
            "port_forward": location.port_forward,
        });
        text.push_str(&format!("{object:#}\n"));
    }
    text
}

/// Id, port forwarding, name; only locations with a WireGuard server.
pub fn short(list: &ServerList) -> String {
    let columns: [Column; 2] = [
        ("location", |row| row.location.id.clone()),
        ("port forwarding", port_forwarding),
    ];
    let rows: Vec<Row<'_>> = list
        .locations
        .iter()
        .filter(|location| is_usable(location))
        .map(|location| Row {
            location,
            latency: None,
        })
        .collect();
    render(&columns, &rows)
}

/// All that is known of these locations, in their order; with `latency`, a column for it.
pub fn full(rows: &[Row<'_>], latency: bool) -> String {
    let mut columns: Vec<Column> = vec![
        ("location", |row| row.location.id.clone()),
        ("country", |row| row.location.country.clone()),
        ("forwarding", port_forwarding),
        ("virtual", |row| yes_or_no(row.location.geo)),
    ];
    if latency {
        columns.push(("latency", |row| {
            row.latency.map_or_else(|| "-".to_owned(), in_milliseconds)
        }));
    }
    render(&columns, rows)
}

/// A location, and how far it is if that was measured.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub location: &'a Location,
    pub latency: Option<Duration>,
}

/// A heading and what stands below it.
type Column = (&'static str, fn(&Row<'_>) -> String);

/// Tenths below ten milliseconds, where they tell neighbours apart.
fn in_milliseconds(latency: Duration) -> String {
    let milliseconds = latency.as_secs_f64() * 1000.0;
    if milliseconds < 9.95 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

fn port_forwarding(row: &Row<'_>) -> String {
    yes_or_no(row.location.port_forward)
}

fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn render(columns: &[Column], rows: &[Row<'_>]) -> String {
    let length = |text: &str| text.chars().count();
    let widths: Vec<usize> = columns
        .iter()
        .map(|(heading, cell)| {
            rows.iter()
                .map(|row| length(&cell(row)))
                .chain([length(heading)])
                .max()
                .unwrap_or(0)
                .min(MAX_COLUMN_WIDTH)
        })
        .collect();
    let line = |cells: Vec<String>, name: &str| -> String {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}  "));
        let line = padded.collect::<String>() + name;
        line.chars()
            .take(MAX_WIDTH)
            .collect::<String>()
            .trim_end()
            .to_owned()
            + "\n"
    };
    let headings = columns
        .iter()
        .map(|(heading, _)| (*heading).to_owned())
        .collect();
    let body = rows.iter().map(|row| {
        line(
            columns.iter().map(|(_, cell)| cell(row)).collect(),
            &row.location.name,
        )
    });
    std::iter::once(line(headings, "name"))
        .chain(body)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::regions::Server;

    fn location(id: &str, name: &str) -> Location {
        Location {
            id: id.into(),
            name: name.into(),
            country: "CH".into(),
            port_forward: !id.starts_with("us"),
            geo: id == "virtual",
            offline: false,
            servers: vec![Server::new("zurich406", "192.0.2.1").unwrap()],
        }
    }

    #[test]
    fn the_short_table_fits_a_terminal_and_has_no_location_without_servers() {
        let mut locations = vec![
            location("swiss", &"Switzerland ".repeat(20)),
            location("us_chicago", "US Chicago"),
        ];
        locations.push(Location {
            servers: vec![],
            ..location("nowg", "Nowhere")
        });
        let table = short(&ServerList {
            registration_port: 1337,
            locations,
        });
        assert!(table.lines().all(|line| line.chars().count() <= MAX_WIDTH));
        let ids: Vec<&str> = table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(ids, ["swiss", "us_chicago"]);
        assert!(table.contains("us_chicago  no "), "{table}");
    }

    #[test]
    fn the_full_table_keeps_the_order() {
        let (near, far) = (
            location("swiss", "Switzerland"),
            location("virtual", "Nowhere"),
        );
        let rows = [
            Row {
                location: &near,
                latency: Some(Duration::from_micros(1_234)),
            },
            Row {
                location: &far,
                latency: Some(Duration::from_micros(123_456)),
            },
            Row {
                location: &far,
                latency: None,
            },
        ];
        assert_eq!(
            full(&rows, true),
            "location  country  forwarding  virtual  latency  name\n\
             swiss     CH       yes         no       1.2 ms   Switzerland\n\
             virtual   CH       yes         yes      123 ms   Nowhere\n\
             virtual   CH       yes         yes      -        Nowhere\n"
        );
    }
}
