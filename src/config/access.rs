//! Settings of who may do what, and of how much may come in.

use super::{Reader, path, text_to};
use crate::auth::{AuthSettings, KeysError, Mode};
use crate::broker::GroupCommit;
use crate::ingest::IngestSettings;
use crate::ingest::bounds::BoundsSettings;

const UNLIMITED_OR: &str = "unlimited, or a number from 1 on";

/// Whether keys are asked for; where they are, there is a file of them.
pub(super) fn auth(read: &mut Reader<'_>) -> AuthSettings {
    let mode = read.parsed("auth.mode", "off or required", mode).unwrap_or_default();
    let keys_file = read.parsed("auth.keys_file", "the path of a file", |text| Some(path(text))).unwrap_or_default();
    if mode == Mode::Required && keys_file.is_none() {
        read.problems.push(KeysError::NotNamed.to_string());
    }
    AuthSettings { mode, keys_file }
}

/// What bounds channels and what waits of one, and how messages are stored.
pub(super) fn ingest(read: &mut Reader<'_>) -> IngestSettings {
    let mut max = |setting| read.parsed(setting, UNLIMITED_OR, unlimited).unwrap_or_default();
    let bounds = BoundsSettings { channels_max: max("ingest.channels_max"), pending_max: max("ingest.pending_max") };
    let group_commit = group_commit(read, "ingest.group_commit");
    IngestSettings { bounds, group_commit }
}

/// Whether what waits is stored together.
pub(super) fn group_commit(read: &mut Reader<'_>, setting: &str) -> GroupCommit {
    let parse = |text: &str| match text {
        "auto" => Some(GroupCommit::Auto),
        "on" => Some(GroupCommit::On),
        "off" => Some(GroupCommit::Off),
        _ => None,
    };
    read.parsed(setting, "auto, on or off", parse).unwrap_or_default()
}

fn mode(text: &str) -> Option<Mode> {
    match text {
        "off" => Some(Mode::Off),
        "required" => Some(Mode::Required),
        _ => None,
    }
}

fn unlimited(text: &str) -> Option<Option<u64>> {
    match text {
        "unlimited" => Some(None),
        number => text_to(number).filter(|max| *max > 0).map(Some),
    }
}
