//! HTTP as such: serving connections, the envelope of every answer, request ids, bodies, the parameters and cursors of
//! lists, health. Knows neither the broker nor rockets; the roles bring their routes.
//!
//! A [`mod@route`] ends in an [`Answer`]. [`mod@serve`] puts each answer into the envelope with the request's
//! id, also where no route was found or a handler panicked, so that this is done in one place. [`asker`] is whether anybody
//! still waits for an answer that takes long. A [`mod@file`] of the program is answered as it is, without the envelope.

pub mod answer;
pub mod asker;
pub mod body;
pub mod cursor;
pub mod file;
pub mod health;
pub mod params;
pub mod request_id;
pub mod route;
pub mod serve;

pub use answer::Answer;
pub use file::File;
pub use request_id::RequestId;
pub use route::{Request, Routes};
pub use serve::serve;
