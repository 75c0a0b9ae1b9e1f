//! Reads the named fields of a JSON object, and checks everything else in it as strictly as if it were used.
//!
//! serde_json skips what nobody asked for without a look: any depth, numbers beyond all range, half a surrogate pair.
//! What we store is read by other people's parsers, so here nothing is skipped. A field that is given twice is noticed
//! and not decided: parsers differ in which one they take.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What stands in the place of one field.
#[derive(Debug, PartialEq)]
pub(super) enum Slot<'a> {
    Missing,
    Twice,
    Integer(i128),
    Text(Cow<'a, str>),
    /// Any other value: `null`, a boolean, a number that is no integer, an array, an object.
    Other,
}

/// What stands in the place of a field that should be an object: the slots of its named fields.
#[derive(Debug, PartialEq)]
pub(super) enum Object<'a, const N: usize> {
    Missing,
    Twice,
    Fields([Slot<'a>; N]),
    Other,
}

/// Reads an object with these named fields.
#[derive(Clone, Copy)]
pub(super) struct ObjectSeed<const N: usize>(pub(super) [&'static str; N]);

/// A value that is only checked.
pub(super) struct Checked;

macro_rules! visit_scalars {
    ($($method:ident($type:ty)),*) => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> { Ok(Self::Value::OTHER) }
        $(fn $method<E: Error>(self, _: $type) -> Result<Self::Value, E> { Ok(Self::Value::OTHER) })*
    };
}

/// The value for what has a type that nobody asked for.
trait OfOtherType {
    const OTHER: Self;
}

impl OfOtherType for Checked {
    const OTHER: Self = Self;
}

impl OfOtherType for Slot<'_> {
    const OTHER: Self = Self::Other;
}

impl<const N: usize> OfOtherType for Object<'_, N> {
    const OTHER: Self = Self::Other;
}

fn check_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<(), A::Error> {
    while array.next_element::<Checked>()?.is_some() {}
    Ok(())
}

fn check_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<(), A::Error> {
    while object.next_entry::<Checked, Checked>()?.is_some() {}
    Ok(())
}

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CheckedVisitor;
        impl<'de> Visitor<'de> for CheckedVisitor {
            type Value = Checked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            visit_scalars!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

            fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Checked, A::Error> {
                check_array(array).map(|()| Checked)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Checked, A::Error> {
                check_object(object).map(|()| Checked)
            }
        }
        deserializer.deserialize_any(CheckedVisitor)
    }
}

impl<'de> Deserialize<'de> for Slot<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SlotVisitor;
        impl<'de> Visitor<'de> for SlotVisitor {
            type Value = Slot<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            visit_scalars!(visit_bool(bool), visit_f64(f64));

            fn visit_i64<E: Error>(self, integer: i64) -> Result<Slot<'de>, E> {
                Ok(Slot::Integer(integer.into()))
            }

            fn visit_u64<E: Error>(self, integer: u64) -> Result<Slot<'de>, E> {
                Ok(Slot::Integer(integer.into()))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Slot<'de>, E> {
                Ok(Slot::Text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Slot<'de>, E> {
                Ok(Slot::Text(text.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Slot<'de>, A::Error> {
                check_array(array).map(|()| Slot::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Slot<'de>, A::Error> {
                check_object(object).map(|()| Slot::Other)
            }
        }
        deserializer.deserialize_any(SlotVisitor)
    }
}

impl<'de, const N: usize> DeserializeSeed<'de> for ObjectSeed<N> {
    type Value = Object<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for ObjectSeed<N> {
    type Value = Object<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    visit_scalars!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        check_array(array).map(|()| Object::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut slots = [const { Slot::Missing }; N];
        while let Some(Slot::Text(name)) = object.next_key()? {
            match self.0.iter().position(|known| *known == name) {
                Some(at) if slots[at] == Slot::Missing => slots[at] = object.next_value()?,
                known => {
                    object.next_value::<Checked>()?;
                    known.into_iter().for_each(|at| slots[at] = Slot::Twice);
                }
            }
        }
        Ok(Object::Fields(slots))
    }
}
