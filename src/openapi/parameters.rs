//! The parameters that more than one operation has.

use strum::VariantNames;
use utoipa::openapi::{RefOr, Schema};

use super::operation::Parameter;
use super::schemas::{flag, number, one_of, text, time};
use crate::http::cursor;
use crate::http::params::LIMIT_MAX;
use crate::query::view::Order;
use crate::query::{PublicStatus, SortBy};

/// A parameter of a query.
pub fn parameter(name: &'static str, schema: impl Into<RefOr<Schema>>, description: &'static str) -> Parameter {
    Parameter { name, schema: schema.into(), description }
}

/// What a page of a list begins behind, and how much it has.
pub fn page(limit_default: &'static str) -> [Parameter; 2] {
    let limit = number(1).maximum(Some(LIMIT_MAX));
    let cursor = text().pattern(Some("^[A-Za-z0-9_-]+$")).max_length(Some(cursor::TEXT_MAX));
    let about = "The `next_cursor` of the page before. What else is asked for must be the same, or absent.";
    [parameter("limit", limit, limit_default), parameter("cursor", cursor, about)]
}

/// Which rockets.
pub fn filter() -> [Parameter; 7] {
    [
        parameter("status", one_of(PublicStatus::VARIANTS), "Only rockets of this status."),
        parameter("type", text(), "Only rockets of exactly this type."),
        parameter("mission", text(), "Only rockets of exactly this mission."),
        parameter("minSpeed", number(0), "Only rockets of at least this speed."),
        parameter("maxSpeed", number(0), "Only rockets of at most this speed."),
        parameter("launchedAfter", time(), "Only rockets that were launched after this."),
        parameter("launchedBefore", time(), "Only rockets that were launched before this."),
    ]
}

/// In which order rockets come.
pub fn sorting() -> [Parameter; 2] {
    let about = "What the list is sorted by; by channel unless asked otherwise. Equal ones come by id.";
    [parameter("sortBy", one_of(SortBy::VARIANTS), about), order("The lowest first, or the highest.")]
}

/// Which end comes first.
pub fn order(description: &'static str) -> Parameter {
    parameter("order", one_of(Order::VARIANTS), description)
}

/// Whether something is only told.
pub fn dry_run() -> Parameter {
    parameter("dry_run", flag(), "Only tell what would be done. Nothing is changed.")
}

/// How long an answer may wait.
pub fn wait() -> Parameter {
    let schema = text().pattern(Some("^(10|[0-9])s$|^(10000|[0-9]{1,4})ms$"));
    parameter("wait", schema, "How long to wait, at most 10 s: a number with `s` or `ms`.")
}
