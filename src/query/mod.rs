//! The read side: what `GET /rockets` and `GET /rockets/{channel}` answer from.
//!
//! On the way of the data: `[bucket] ▸ broker/watch ▸` [`view`] (all rockets in memory) `▸` [`list`] (what a client
//! asked for) `▸` [`mod@page`] (the rockets that are the answer) `▸` [`public`] (as JSON). Which rockets a list has, and in
//! which order, is said once, in [`selection`]; [`cursor`] carries it from one page to the next.
//!
//! Beside it, straight from the stream: [`history`], how a rocket came to be what it is.

pub mod cursor;
pub mod feed;
pub mod history;
pub mod list;
pub mod page;
pub mod params;
pub mod public;
pub mod routes;
pub mod selection;
pub mod view;

#[cfg(test)]
mod fixtures;

pub use list::ListRequest;
pub use page::{Page, page};
pub use params::BadQuery;
pub use public::PublicRocket;
pub use view::{Entry, View};
