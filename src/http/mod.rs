//! HTTP as such: serving connections, the envelope of every answer, request ids, bodies, the parameters and cursors of
//! lists, health, metrics. Knows neither the broker nor rockets; the roles bring their routes.
//!
//! A [`mod@route`] ends in an [`Answer`]. [`mod@serve`] puts each answer into the envelope with the request's
//! id, also where no route was found or a handler panicked, so that this is done in one place. [`asker`] is whether anybody
//! still waits for an answer that takes long. [`events`] is an answer without an end, [`stall`] what becomes of one who
//! does not read an answer, and [`tag`] how a client asks whether an answer is still true. [`door`] is who is let in. A [`mod@file`] of the program is
//! answered as it is, without the envelope. [`trace`] is a request's span.

pub mod answer;
pub mod asker;
pub mod body;
pub mod cors;
pub mod cursor;
pub mod door;
pub mod events;
pub mod file;
pub mod health;
pub mod metrics;
pub mod params;
pub mod request_id;
pub mod route;
pub mod serve;
mod stall;
pub mod tag;
mod trace;

pub use answer::Answer;
pub use cors::Cors;
pub use door::{Access, Address, Door};
pub use file::{File, Files};
pub use request_id::RequestId;
pub use route::{Request, Routes};
pub use serve::{Entrance, serve_all};
pub use tag::Tag;
