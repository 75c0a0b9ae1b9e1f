//! The text of a cursor: JSON in base64url, opaque to clients and no secret. What is in it, a list says with a
//! type.
//!
//! What comes back is hostile until it is proved to be exactly what would be written here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest cursor, in characters. A longer one is refused unread.
pub const TEXT_MAX: usize = 8 * 1024;

/// Version of what is written. A cursor of another version is none; a client then begins the list again.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    place: T,
}

/// The text of a place in a list.
pub fn write<T: Serialize>(place: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Versioned { v: VERSION, place }).unwrap_or_default())
}

/// Reads what [`write()`] wrote. A place has one text: what reads well but would be written otherwise was not written here.
pub fn read<T: Serialize + DeserializeOwned>(text: &str) -> Option<T> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let read: Versioned<T> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    (read.v == VERSION && write(&read.place) == text).then_some(read.place)
}
