//! PURE: columns and amounts, as text.

/// Nothing to say.
pub(crate) const NONE: &str = "-";

/// Bytes in the largest unit that leaves a whole part.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut scaled = count;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    format!("{scaled} {}", UNITS[unit])
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
    fn columns_line_up() {
        let rows = [["A", "B", "C"], ["long", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B  C\nlong  b");
    }
}
