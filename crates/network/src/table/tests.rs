//! The table is whole, and what follows from it.

use super::*;
use std::collections::BTreeSet;

/// A table that lost a row would leave a port closed that a machine needs.
#[test]
fn the_table_has_as_many_cells_as_the_texts() {
    let table = table();
    let rows = |seed: &str| table.rows.iter().filter(|row| row.seed == seed).count();
    let kinds = |seed: &str| {
        table.rows.iter().filter(|row| row.seed == seed).map(|row| row.node).collect::<BTreeSet<_>>().len()
    };
    let Coverage { hpsum_rows, sum_rows, psp_rows, hpsum_node_types, sum_node_types } = table.coverage;
    assert_eq!((rows("hpsum"), rows("sum"), rows("psp")), (hpsum_rows, sum_rows, psp_rows));
    assert_eq!((kinds("hpsum"), kinds("sum")), (hpsum_node_types, sum_node_types));
    assert_eq!(table.conflicts.len(), 9);
}
