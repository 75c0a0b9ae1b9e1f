//! What became of what was to be stored together, as the processes' logs have it.

use serde_json::Value;

/// What became of groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Groups {
    /// How many were stored, and how many messages or records these had.
    pub stored: u64,
    pub writes: u64,
    /// How many were not, so that each of them went by itself or was answered that nobody knows.
    pub not_stored: u64,
    /// How many processes died in the middle of one.
    pub deaths: u64,
}

impl Groups {
    /// The same with what a line of a log says.
    pub fn with(self, line: &Value) -> Self {
        match line["message"].as_str() {
            Some("a group is stored") => {
                let writes = self.writes + line["messages"].as_u64().unwrap();
                Self { stored: self.stored + 1, writes, ..self }
            }
            Some("a group was not stored, each goes by itself") => Self { not_stored: self.not_stored + 1, ..self },
            _ => self,
        }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            stored: self.stored + other.stored,
            writes: self.writes + other.writes,
            not_stored: self.not_stored + other.not_stored,
            deaths: self.deaths + other.deaths,
        }
    }
}
