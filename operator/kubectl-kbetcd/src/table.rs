//! PURE: columns and amounts, as text.

/// Nothing to say.
pub(crate) const NONE: &str = "-";

/// Bytes in the largest unit that leaves a whole part, with one decimal, rounded down: what is not full is not shown as
/// full.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut size = 1;
    while count / size >= 1024 && unit + 1 < UNITS.len() {
        size *= 1024;
        unit += 1;
    }
    let tenths = u128::from(count % size) * 10 / u128::from(size);
    match tenths {
        0 => format!("{} {}", count / size, UNITS[unit]),
        _ => format!("{}.{tenths} {}", count / size, UNITS[unit]),
    }
}

/// Columns as wide as their widest cell, two spaces apart.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().enumerate();
            let padded = cells.map(|(at, cell)| format!("{cell:<width$}", width = width(at)));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        assert_eq!(
            [bytes(999), bytes(2048), bytes(2 << 30), bytes(1 << 42)],
            ["999 B", "2 KiB", "2 GiB", "4096 GiB"]
        );
    }

    #[test]
    fn what_is_not_full_is_not_shown_as_full_nor_as_half() {
        let mib = 1 << 20;
        assert_eq!(
            [
                2047 * mib,
                2048 * mib - 1,
                2048 * mib,
                25_000,
                1023,
                u64::MAX
            ]
            .map(bytes),
            [
                "1.9 GiB",
                "1.9 GiB",
                "2 GiB",
                "24.4 KiB",
                "1023 B",
                "17179869183.9 GiB"
            ]
        );
    }

    #[test]
    fn columns_line_up() {
        let rows = [["A", "B", "C"], ["long", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B  C\nlong  b");
    }
}
