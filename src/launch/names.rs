//! The names that generated messages carry: rocket types, missions, reasons of explosions.
//!
//! The hostile ones are valid (non-empty, at most 255 characters) and hit what implementations get wrong: counting
//! bytes instead of characters, escaping, printing what arrives to a terminal.

use rand::{Rng, RngExt as _};

/// The longest string of the contract, in code points.
const CHARACTERS_MAX: usize = 255;

const ROCKET_TYPES: [&str; 8] =
    ["Falcon-9", "Falcon-Heavy", "Ariane-6", "Atlas-V", "Delta-IV", "Electron", "Soyuz-2", "Vega-C"];
const MISSIONS: [&str; 10] =
    ["ARTEMIS", "APOLLO", "CASSINI", "GALILEO", "GEMINI", "JUNO", "MAGELLAN", "ROSETTA", "SHUTTLE_MIR", "VOYAGER"];
const REASONS: [&str; 5] =
    ["PRESSURE_VESSEL_FAILURE", "ENGINE_FAILURE", "FUEL_LEAK", "GUIDANCE_FAILURE", "LOST_STAGE_SEPARATION"];
const HOSTILE_NAMES: [&str; 12] = [
    " ",
    "null",
    "\"quoted\" and \\escaped\\",
    "two\nlines\r\nand a\ttab",
    "\u{0}begins with a NUL",
    "\u{1b}[31mred\u{1b}[0m\u{7}",
    "<script>alert('mission')</script>",
    "Звёздный путь 火星 🚀",
    "e\u{301} is not \u{e9}",
    "right to left \u{202e}SIMETRA",
    "\u{feff}zero\u{200b}width\u{2028}",
    "{\"metadata\": 1e400}",
];

/// The names of one kind of data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Words {
    /// Names as the field's sender has them.
    Field,
    /// Of three names, one that is hostile.
    Hostile,
}

impl Words {
    /// The type of a rocket, as a launch says it.
    pub(super) fn rocket_type(self, random: &mut impl Rng) -> String {
        self.draw(random, &ROCKET_TYPES)
    }

    /// The name of a mission.
    pub(super) fn mission(self, random: &mut impl Rng) -> String {
        self.draw(random, &MISSIONS)
    }

    /// Why a rocket exploded.
    pub(super) fn reason(self, random: &mut impl Rng) -> String {
        self.draw(random, &REASONS)
    }

    fn draw(self, random: &mut impl Rng, plain: &[&str]) -> String {
        if self == Words::Hostile && random.random_ratio(1, 3) {
            return hostile(random);
        }
        one_of(random, plain).to_owned()
    }
}

fn hostile(random: &mut impl Rng) -> String {
    match random.random_range(0..6_u32) {
        0 => "M".repeat(CHARACTERS_MAX),
        1 => "🚀".repeat(CHARACTERS_MAX),
        _ => one_of(random, &HOSTILE_NAMES).to_owned(),
    }
}

fn one_of<'a>(random: &mut impl Rng, values: &[&'a str]) -> &'a str {
    // The index is drawn as a u32, because a usize is drawn differently on platforms of other widths.
    values[random.random_range(0..values.len() as u32) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn every_name_is_within_the_contract() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for names in [Words::Field, Words::Hostile] {
            for _ in 0..2_000 {
                let name = names.mission(&mut random);
                assert!((1..=CHARACTERS_MAX).contains(&name.chars().count()), "{name:?}");
            }
        }
    }
}
