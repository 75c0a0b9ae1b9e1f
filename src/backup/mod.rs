//! What the service has stored, taken out into a folder and put back: `rockets backup` and `rockets restore`.
//!
//! `[streams] ▸` [`save`] `▸` a folder: a file for each stream ([`messages`]) and, last, a [`manifest`] `▸` [`restore`] `▸`
//! `[streams]`. Messages keep their sequences and times: what is stored about an event counts only for the message that was
//! stored at that sequence at that time.
//!
//! Durables are not saved: `rockets init` makes them, and they deliver everything once more. Nothing is merged: a backup
//! comes back as a whole, where none of its streams is.

pub mod manifest;
pub mod messages;
mod progress;
pub mod restore;
pub mod save;
