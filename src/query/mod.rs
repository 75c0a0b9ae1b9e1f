//! The read side: what there is to be asked about rockets, about single messages and about gaps.
//!
//! On the way of the data: `[bucket] ▸ broker/watch ▸` [`view`] (all rockets in memory) `▸` [`list`] (what a client
//! asked for) `▸` [`mod@page`] (the rockets that are the answer; [`whole`] all of them, in pieces) `▸` [`public`] (as
//! JSON). Which rockets a list has, and in which order, is said once, in [`filter`] and [`selection`]; [`cursor`]
//! carries it from one page to the next.
//!
//! [`mod@live`] is the same rockets as a stream of events, for those who follow them.
//!
//! [`gaps`] tells from the same view which channels wait, a page at a time. [`mod@stats`] tells how many
//! there are of each kind. [`events`] tells what became of
//! one message: from what is stored, as [`status`] decides. [`history`] tells from the stream how a rocket came to be what
//! it is. [`mod@observe`] counts what Prometheus reads of the view.

pub mod cursor;
pub mod events;
pub mod feed;
pub mod filter;
pub mod gaps;
pub mod history;
pub mod list;
pub mod live;
pub mod observe;
pub mod page;
pub mod public;
pub mod routes;
pub mod selection;
pub mod stats;
pub mod status;
pub mod view;
mod whole;

#[cfg(test)]
mod fixtures;

pub use crate::http::params;
pub use events::Events;
pub use list::ListRequest;
pub use live::Live;
pub use page::page;
pub use public::{PublicRocket, PublicStatus};
pub use selection::SortBy;
pub use view::{Entry, View};
