//! Tables that are as good to read as to cut apart: no borders, one header, and no cell that is wrapped or cut, however
//! narrow the terminal is.

use comfy_table::{CellAlignment, presets};

use super::emphasised;
use crate::text::printable;

/// Spaces between two columns.
const GUTTER: u16 = 2;
/// What the name of a column begins with whose values stand to the right, because they are numbers.
const RIGHT: char = '>';

/// Rows under the names of their columns. Nothing that stands in a cell is obeyed by a terminal.
pub struct Table {
    rows: comfy_table::Table,
    has_header: bool,
}

impl Table {
    /// With these columns, of which those with numbers begin with `>`. Where none has a name there is no header.
    pub fn new(columns: &[&str]) -> Self {
        let mut rows = comfy_table::Table::new();
        rows.load_style(presets::NOTHING).set_header(columns.iter().map(|column| column.trim_start_matches(RIGHT)));
        for (name, column) in columns.iter().zip(rows.column_iter_mut()) {
            column.set_padding((0, GUTTER));
            if name.starts_with(RIGHT) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let has_header = columns.iter().any(|column| !column.trim_start_matches(RIGHT).is_empty());
        Self { rows, has_header }
    }

    /// The same without its header: the next page of a long one.
    pub fn without_header(self) -> Self {
        Self { has_header: false, ..self }
    }

    /// One more row.
    pub fn add(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.add_row(cells.into_iter().map(|cell| printable(cell.as_ref())));
    }

    /// All of it, a line a row.
    pub fn to_text(&self) -> String {
        let text = self.rows.trim_fmt();
        let mut lines = text.lines();
        let header = lines.next().filter(|_| self.has_header).map(emphasised);
        header.into_iter().chain(lines.map(str::to_owned)).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["who", ">speed", "mission"]);
        table.add(["193270a9-c9cf-404a-8f83-838e71d9ae67", "7", &"long ".repeat(60)]);
        table.add(["a", "1500", "a\u{1b}[2J\nb\u{202e}"]);
        table
    }

    #[test]
    fn a_row_is_a_line_whatever_stands_in_it() {
        let text = table().to_text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], format!("who{}speed  mission", " ".repeat(35)));
        assert_eq!(lines[1], format!("193270a9-c9cf-404a-8f83-838e71d9ae67      7  {}", "long ".repeat(60).trim_end()));
        assert_eq!(lines[2], format!("a{}1500  a\\u{{1b}}[2J\\u{{a}}b\\u{{202e}}", " ".repeat(38)));
    }

    #[test]
    fn a_further_page_and_one_without_names_have_no_header() {
        assert_eq!(table().without_header().to_text().lines().count(), 2);
        let mut table = Table::new(&["", ">"]);
        table.add(["through", "5"]);
        assert_eq!(table.to_text(), "through  5");
    }
}
