//! Text from outside, made safe to print: a name in a message must not move the cursor or recolour a terminal.

/// The text with everything escaped that a terminal would not simply show.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Control characters, and those that turn the direction of writing, end lines or are not seen at all without being control
/// characters.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A number of bytes for people, such as `4.0 GiB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let at = (bytes.max(1).ilog2() / 10).min(4);
    match at {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / 1024_f64.powi(at.cast_signed()), units[at as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_a_unit_that_fits() {
        for (number, expected) in
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (4 << 30, "4.0 GiB"), (u64::MAX, "16777216.0 TiB")]
        {
            assert_eq!(bytes(number), expected);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let rows = [
            ("ARTEMIS 🚀 火星", "ARTEMIS 🚀 火星"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("a\u{7f}\u{9b}b", "a\\u{7f}\\u{9b}b"),
            ("\u{202e}abc\u{61c}", "\\u{202e}abc\\u{61c}"),
            ("a\u{2066}\u{2069}\u{e0041}", "a\\u{2066}\\u{2069}\\u{e0041}"),
            ("a\r\tb\u{0}", "a\\u{d}\\u{9}b\\u{0}"),
        ];
        for (text, expected) in rows {
            assert_eq!(printable(text), expected);
        }
    }
}
