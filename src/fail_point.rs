//! Points at which a test stops the program as `kill -9` would: at exactly this place, with nothing cleaned up.
//!
//! Compiled in only with the feature `fail-points`. The variable `FAIL_POINT` names one, with the time at which it
//! strikes: `track.record-written:3` strikes when that point is reached for the third time.

/// Makes this process one of a newer version, if a test asks for that; see [`crate::domain::format`].
pub fn choose_version() {
    #[cfg(feature = "fail-points")]
    if let Some(format) = std::env::var("TEST_FORMAT").ok().and_then(|text| text.parse().ok()) {
        crate::domain::format::set_newest(format);
    }
}

/// Marks a point; does nothing unless a test chose it.
#[cfg(not(feature = "fail-points"))]
pub fn reached(_name: &'static str) {}

/// Marks a point; ends the process if a test chose it and this is the time.
#[cfg(feature = "fail-points")]
pub fn reached(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static TIMES: AtomicU64 = AtomicU64::new(0);

    let chosen = CHOSEN.get_or_init(|| {
        let value = std::env::var("FAIL_POINT").ok()?;
        let (name, time) = value.split_once(':').unwrap_or((&value, "1"));
        Some((name.to_owned(), time.parse().ok()?))
    });
    if let Some((chosen, time)) = chosen
        && chosen == name
        && TIMES.fetch_add(1, Ordering::SeqCst) + 1 == *time
    {
        std::process::abort();
    }
}
