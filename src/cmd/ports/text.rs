//! Renders the table for users.

use super::demand::{PortRequirements, Row};
use super::subject::Endpoint;
use farrier_network::Direction;
use std::fmt::Write as _;

const HEAD: [&str; 9] = ["NODE", "TYPE", "PHASE", "FROM", "TO", "PROTO", "PORT", "SPEAKS", "REASON"];

/// Renders one line for each port, and the notes.
pub(super) fn render(demand: &PortRequirements) -> String {
    let mut lines: Vec<[String; 9]> = vec![HEAD.map(str::to_owned)];
    lines.extend(demand.rows.iter().map(line));
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for note in notes(demand) {
        // Writing to a string does not fail.
        writeln!(text, "note: {note}").unwrap_or_default();
    }
    text
}

fn line(row: &Row) -> [String; 9] {
    let machine = places(&row.machine, &format!("any {}", row.kind));
    let farrier = places(&row.farrier, "farrier");
    let (from, to) = match row.direction {
        Direction::ToTarget => (farrier, machine),
        Direction::FromTarget => (machine, farrier),
    };
    let node = match &row.run {
        Some(run) => format!("{} ({run})", row.node),
        None => row.node.clone(),
    };
    let phases = phases(row);
    let Some(open) = &row.open else {
        let nothing = "nothing: this way stays closed".to_owned();
        return [
            node,
            row.kind.to_string(),
            phases,
            from,
            to,
            "-".to_owned(),
            "-".to_owned(),
            "-".to_owned(),
            nothing,
        ];
    };
    let more = if open.port.overflow { "+" } else { "" };
    let port =
        if open.optional { format!("({})", open.numbers()) } else { format!("{}{more}", open.numbers()) };
    let transport = open.transport.to_string();
    [
        node,
        row.kind.to_string(),
        phases,
        from,
        to,
        transport,
        port,
        open.protocol.clone(),
        open.reason.clone(),
    ]
}

/// Formats the phases of a row for users.
pub(super) fn phases(row: &Row) -> String {
    row.phases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn places(places: &[Endpoint], otherwise: &str) -> String {
    if places.is_empty() {
        return otherwise.to_owned();
    }
    places.iter().map(|place| place.text.as_str()).collect::<Vec<_>>().join(",")
}

fn notes(demand: &PortRequirements) -> Vec<String> {
    let mut notes = demand.notes.clone();
    let open = || demand.rows.iter().filter_map(|row| row.open.as_ref());
    if open().any(|open| open.optional) {
        notes.push("ports in parentheses are optional: only devices without HTTPS need them".to_owned());
    }
    if open().any(|open| open.port.overflow) {
        notes.push("where a port is followed by +, higher ones are used when those are taken".to_owned());
    }
    notes
}
