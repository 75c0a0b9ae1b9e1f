//! The API in OpenAPI's words: `/openapi.json`, and `/docs` for people.
//!
//! What is answered is derived from the very types that are written ([`utoipa::ToSchema`]); the operations are said in
//! [`messages`], [`rockets`], [`operators`] and [`process`], which are the headings of the document, with the few words that
//! [`operation`] has. A test compares the routes with them, and another one has them tried against a running service.
//!
//! What this module deliberately does not do: check requests. That is the business of those who read them.

use std::sync::Arc;

use utoipa::openapi::info::{InfoBuilder, LicenseBuilder};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{OpenApi, OpenApiBuilder, OpenApiVersion, Paths};

use crate::http::route::{Routes, any, get};
use crate::http::{Access, File};
use operation::Operation;
use schemas::Schemas;

mod bodies;
mod docs;
mod live;
mod messages;
mod operation;
mod operators;
mod parameters;
mod process;
mod rockets;
mod schemas;

/// What holds for all operations.
const ABOUT: &str = "\
Takes the messages of many rockets, out of order and more than once, and always knows each rocket's true state.

Every answer in JSON is an envelope: `request_id`, and either `data` or `error`. A request may bring a `Request-Id` of 1 to 128 \
visible ASCII characters; otherwise one is made. It comes back as a header and in the envelope, and is in every log line that \
the request causes. `HEAD` is `GET` without the body. A parameter that a route does not have is a 400, an unknown path a 404, \
another method a 405 with `Allow`. Where keys are asked for (`auth.mode`), `Authorization: Bearer rkt_<id>_<secret>` says who asks. \
Answers of 1 KiB and more are packed with `gzip` or `br` where `Accept-Encoding` asks for it, \
and a body may be packed with `gzip` (another `Content-Encoding` is a 415). A request line or headers that are no HTTP are \
answered without a body. A `Host` that is not this one's is a 403, and so is what a browser sends for a page of another origin \
and would change something. Where too many requests are in hand it is a 503.";

/// The headings, and what stands below them.
const TAGS: [(&str, &str); 4] = [
    (messages::TAG, "What senders use."),
    (rockets::TAG, "What is known of rockets."),
    (operators::TAG, "What goes wrong, and how it is mended."),
    (process::TAG, "What orchestrators and people look at."),
];

/// The whole description.
pub fn document() -> OpenApi {
    let (mut paths, mut schemas) = (Paths::new(), Schemas::default());
    schemas.add(operation::ERROR, operation::error());
    operations().for_each(|operation| operation.put_into(&mut paths, &mut schemas));
    let components = schemas.into_components();
    let components = operation::headers().into_iter().fold(components, |all, (name, header)| all.header(name, header));
    let (name, scheme) = operation::security();
    let components = components.security_scheme(name, scheme);
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build();
    let info = InfoBuilder::new().title("rockets").version(env!("CARGO_PKG_VERSION"));
    OpenApiBuilder::new()
        .openapi(OpenApiVersion::Version32)
        .info(info.description(Some(ABOUT)).license(Some(license)))
        .tags(Some(TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build())))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

/// `/openapi.json`, and `/docs` with its files.
pub fn routes() -> Routes {
    // Made of constants: this cannot fail.
    let json = document().to_pretty_json().unwrap_or_default();
    let file = Arc::new(File::new("openapi.json", json, "default-src 'none'"));
    let answer = |file: Arc<File>, request: crate::http::Request| async move { Ok(file.answer(&request.head.headers)) };
    any([get("openapi.json", Access::Open, &file, answer), docs::routes()])
}

fn operations() -> impl Iterator<Item = Operation> {
    let (messages, rockets) = (messages::operations(), rockets::operations());
    let (operators, process) = (operators::operations(), process::operations());
    messages.into_iter().chain(rockets).chain(operators).chain(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copy by which changes of the API show in a review.
    const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

    #[test]
    fn the_copy_is_what_is_served() {
        let json = document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(COPY, &json).unwrap();
        }
        assert!(std::fs::read_to_string(COPY).unwrap() == json, "docs/openapi.json is older than the code: UPDATE=1");
    }

    #[test]
    fn what_is_named_is_there() {
        let json = document().to_json().unwrap();
        let names = json.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        let schemas = document().components.unwrap().schemas;
        for name in names {
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(schemas.len() > 20);
    }
}
