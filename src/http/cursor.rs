//! The text of a cursor: JSON in base64url, opaque to clients and no secret. What is in it, a list says with a type.
//!
//! What comes back is hostile until it is proved to be exactly what would be written here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest cursor, in characters. A longer one is refused unread.
pub const TEXT_MAX: usize = 8 * 1024;

/// The text of a cursor.
pub fn write(form: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(form).unwrap_or_default())
}

/// Reads what [`write()`] wrote. One cursor has one text: what reads well but would be written otherwise was not written
/// here.
pub fn read<T: Serialize + DeserializeOwned>(text: &str) -> Option<T> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let form: T = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    (write(&form) == text).then_some(form)
}
