//! A record's text as the oracle looks at it: what follows the rocket, found by its names and nothing else.

/// How far a record has come, and what it says to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub last: u64,
    pub overrides: u64,
    /// First, last and lowest sequence of each range.
    pub pending: Vec<[u64; 3]>,
    /// Whether more waits than is listed.
    pub beyond: bool,
    pub skipped: Vec<[u64; 2]>,
    /// Up to which number skipped ones may be missing; 0 where all are listed.
    pub unlisted: u64,
    pub corrections_wait: bool,
}

impl Facts {
    /// Reads them.
    pub fn of(text: &str) -> Self {
        let single = |name: &str| numbers(after(text, name).unwrap_or_default(), 0).first().copied().unwrap_or(0);
        let list = |name: &str| after(text, name).map(|rest| numbers(rest, 1)).unwrap_or_default();
        Self {
            last: single("\"lastMessageNumber\":"),
            overrides: single("\"lastAct\":"),
            pending: list("\"parked\":[").as_chunks().0.to_vec(),
            beyond: text.contains("\"parkedBeyond\""),
            skipped: list("\"skipped\":[").as_chunks().0.to_vec(),
            unlisted: single("\"skippedUnlisted\":"),
            corrections_wait: text.contains("\"correctionsWait\":true"),
        }
    }

    /// The rest of the text, behind the name of what is pending.
    pub fn text(&self) -> String {
        let list = |ranges: Vec<String>| format!("[{}]", ranges.join(","));
        let mut text = list(self.pending.iter().map(|[a, b, c]| format!("[{a},{b},{c}]")).collect());
        if !self.skipped.is_empty() {
            let ranges = self.skipped.iter().map(|[a, b]| format!("[{a},{b}]")).collect();
            text += &format!(",\"skipped\":{}", list(ranges));
        }
        if self.unlisted > 0 {
            text += &format!(",\"skippedUnlisted\":{}", self.unlisted);
        }
        if self.overrides > 0 {
            // In the model, a message is stored at the millisecond of its place.
            text += &format!(",\"lastAct\":{0},\"lastActAt\":[{0},{0}]", self.overrides);
        }
        if self.corrections_wait {
            text += ",\"correctionsWait\":true";
        }
        text + "}"
    }

    /// Of all ranges of skipped numbers those that it lists: the lowest may be missing, if they are too much together with
    /// the others.
    pub fn listed_of(&self, mut skipped: Vec<[u64; 2]>) -> Vec<[u64; 2]> {
        let first_listed = skipped.partition_point(|[_, last]| *last <= self.unlisted);
        skipped.drain(..first_listed);
        skipped
    }

    /// The pending numbers, a bit each.
    pub fn pending_bits(&self) -> u128 {
        self.pending.iter().flat_map(|[first, last, _]| *first..=*last).fold(0, |bits, number| bits | 1 << number)
    }

    /// Whether a number that waits could be applied.
    pub fn is_drainable(&self) -> bool {
        match self.pending.first() {
            Some([first, ..]) => *first <= self.last + 1,
            None => self.beyond,
        }
    }
}

fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.find(name).map(|at| &text[at + name.len()..])
}

/// The numbers up to the bracket that closes what `depth` brackets have opened, or up to the next name.
fn numbers(text: &str, mut depth: i32) -> Vec<u64> {
    let (mut numbers, mut number) = (Vec::new(), None);
    let single = depth == 0;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            number = Some(number.unwrap_or(0) * 10 + u64::from(byte - b'0'));
            continue;
        }
        numbers.extend(number.take());
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ if single => break,
            _ => {}
        }
        if depth <= 0 {
            break;
        }
    }
    numbers.extend(number);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_and_written() {
        let rest = r#"[[3,7,1204],[9,9,8]],"skipped":[[1,2]],"skippedUnlisted":2,"lastAct":12,"lastActAt":[12,12],"correctionsWait":true}"#;
        let facts = Facts::of(&format!(r#"{{"format":1,"lastMessageNumber":2,"lastMessageTime":"5","parked":{rest}"#));
        let pending = vec![[3, 7, 1204], [9, 9, 8]];
        let expected = Facts {
            last: 2,
            overrides: 12,
            pending,
            beyond: false,
            skipped: vec![[1, 2]],
            unlisted: 2,
            corrections_wait: true,
        };
        assert_eq!((&facts, facts.text()), (&expected, rest.into()));
        assert!(facts.is_drainable());
        assert_eq!(Facts::of(r#"{"lastMessageNumber":0,"parked":[]}"#), Facts::default());
    }
}
