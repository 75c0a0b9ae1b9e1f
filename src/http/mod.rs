//! HTTP as such: serving connections, the envelope of every answer, request ids, bodies, the parameters and cursors of
//! lists, health. Knows neither the broker nor rockets; the roles bring their routes.
//!
//! A route is a warp filter that ends in an [`Answer`]. [`mod@serve`] puts each answer into the envelope with the request's
//! id, also where no route was found or a handler panicked, so that this is done in one place. [`asker`] is whether anybody
//! still waits for an answer that takes long.

pub mod answer;
pub mod asker;
pub mod body;
pub mod cursor;
pub mod health;
pub mod params;
pub mod request_id;
pub mod serve;

pub use answer::Answer;
pub use request_id::RequestId;
pub use serve::serve;

use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::{Filter, Rejection};

/// Some routes of one role.
pub type Routes = BoxedFilter<(Answer,)>;

/// Several routes as one; the first that has the path answers.
pub fn either(first: Routes, second: Routes) -> Routes {
    first.or(second).unify().boxed()
}

/// Whether a request only reads.
pub fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The path was another route's.
pub fn not_this_route() -> Rejection {
    warp::reject::not_found()
}
