//! The events of `GET /rockets/live`, which OpenAPI 3.2 describes one by one.

use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{Content, ContentBuilder, ObjectBuilder, RefOr, Schema};

use super::schemas::{Schemas, one_of, text};
use crate::query::PublicRocket;
use crate::query::live::{Gone, Pulse, Reset, Synced};

/// The stream: each of its items is one of the events.
pub fn events(schemas: &mut Schemas) -> Content {
    let events = [
        event("rocket", schemas.name::<PublicRocket<'_>>(), "A rocket, or what it is now."),
        event("gone", schemas.name::<Gone>(), "A rocket that is not among those that were asked for any more."),
        event("synced", schemas.name::<Synced>(), "Everything that was there has been sent; changes follow."),
        event("pulse", schemas.name::<Pulse>(), "The server is alive."),
        event("reset", schemas.name::<Reset<'_>>(), "What was sent before counts no more; everything is sent again."),
    ];
    let any = events.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item);
    ContentBuilder::new().item_schema(Some(any)).build()
}

fn event(name: &str, data: RefOr<Schema>, about: &str) -> ObjectBuilder {
    let data = text().content_media_type("application/json").content_schema(Some(data));
    let id = text().description(Some("Where the stream is, `<epoch>.<revision>`."));
    let fields = [("event", one_of(&[name])), ("id", id), ("data", data)];
    let object = ObjectBuilder::new().description(Some(about));
    fields.into_iter().fold(object, |object, (name, schema)| object.property(name, schema).required(name))
}
