//! Standard output and error, and tables as Go's tabwriter lays them out.

use alloc::{string::String, vec::Vec};
use rustix::fd::{AsFd, BorrowedFd};

/// Writes to standard output.
pub(crate) fn print(text: &str) -> tare_sys::Result<()> {
    use tare_sys::Context;
    tare_sys::file::write_fd(standard()[1].as_fd(), text.as_bytes()).on("write", || "standard output")
}

/// Writes to standard error. If that fails nobody is left to be told.
pub(crate) fn error(text: &str) {
    let _ = tare_sys::file::write_fd(standard()[2].as_fd(), text.as_bytes());
}

/// Descriptors 0, 1 and 2.
pub(crate) fn standard() -> [BorrowedFd<'static>; 3] {
    tare_sys::file::standard_streams()
}

/// Columns of at least 12 characters with three spaces between, as runc prints lists.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count() + 3).max().unwrap_or(0).max(12)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let spaces = widths[column].saturating_sub(cell.chars().count());
                text.extend(core::iter::repeat_n(' ', spaces));
            }
        }
        text.push('\n');
    }
    text
}
