//! `rockets` takes the messages of many rockets, out of order and more than once, and always knows each one's state.

pub mod broker;
pub mod config;
pub mod domain;
pub mod fail_point;
pub mod launch;
pub mod logging;
pub mod query;
pub mod track;
