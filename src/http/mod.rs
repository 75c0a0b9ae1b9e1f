//! HTTP as such: serving connections, the envelope of every answer, request ids, bodies, the parameters and cursors of
//! lists, health, metrics. Knows neither the broker nor rockets; the roles bring their routes.
//!
//! A [`mod@route`] ends in an [`Answer`]. [`mod@serve`] puts each answer into the envelope with the request's
//! id, also where no route was found or a handler panicked, so that this is done in one place. [`asker`] is whether anybody
//! still waits for an answer that takes long. [`pieces`] is an answer that is written while it is taken, [`events`] one
//! without an end, [`stall`] what becomes of one who does not read an answer, and [`tag`] how a client asks whether an answer
//! is still true. [`door`] is who is let in. A [`mod@file`] of the program is
//! answered as it is, without the envelope. [`trace`] is a request's span.
//!
//! An [`mod@address`] is where is listened, and [`mod@connection`] what one connection may take its time with, of which
//! [`peers`] counts how many an address has; [`mod@tls`] encrypts them. [`browsers`] keeps out what pages of others have
//! browsers do.

pub mod address;
pub mod answer;
pub mod asker;
pub mod body;
pub mod browsers;
mod connection;
pub mod cors;
pub mod cursor;
pub mod door;
pub mod events;
pub mod file;
pub mod health;
pub mod metrics;
pub mod params;
pub mod peers;
pub mod pieces;
pub mod request_id;
pub mod route;
pub mod serve;
mod stall;
pub mod tag;
pub mod tls;
mod trace;

pub use address::Address;
pub use answer::Answer;
pub use browsers::Guard;
pub use cors::Cors;
pub use door::{Access, Door, Side};
pub use file::{File, Files};
pub use pieces::Pieces;
pub use request_id::RequestId;
pub use route::{Request, Routes};
pub use serve::{Bounds, Entrance, serve_all};
pub use tag::Tag;
pub use tls::{Tls, TlsFiles};
