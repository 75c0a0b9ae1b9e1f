//! One operation, said in a few words, and what OpenAPI makes of it: the envelope around the answer, the headers that every
//! answer has, the schemas by their names.

use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, OneOfBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, ContentBuilder, Header, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Schema, Type,
};
use utoipa::{PartialSchema as _, ToSchema};

use super::schemas::{self, Schemas};
use crate::admin::preview::Preview;
use crate::auth::Scope;

/// The media type of everything that is in the envelope.
const JSON: &str = "application/json";
/// That of bodies with a JSON value on each line.
const LINES: &str = "application/x-ndjson";

const REQUEST_ID: &str = "Request-Id";
const RETRY_AFTER: &str = "Retry-After";
const AUTHENTICATE: &str = "WWW-Authenticate";
const RATE_LIMIT: &str = "RateLimit";
const RATE_LIMIT_POLICY: &str = "RateLimit-Policy";

/// What a key is called where operations ask for one.
const KEY: &str = "key";

/// The schema of an answer that is an error.
pub const ERROR: &str = "Error";

const FOREIGN: &str = "A browser sends it for a page of another origin.";

/// An operation, and the schemas that it names.
pub struct Operation {
    method: HttpMethod,
    path: &'static str,
    operation: OperationBuilder,
    schemas: Schemas,
}

/// A parameter of the query.
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub schema: RefOr<Schema>,
    /// What it does.
    pub description: &'static str,
}

/// What stands in the envelope beside the data of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Where the next page begins.
    NextCursor,
    /// Where the list was read.
    Revision,
    /// Up to where a history was trimmed.
    TrimmedThrough,
}

/// An operation that reads.
pub fn get(path: &'static str, id: &str) -> Operation {
    Operation::new(HttpMethod::Get, path, id)
}

/// An operation that something is sent to.
pub fn post(path: &'static str, id: &str) -> Operation {
    Operation::new(HttpMethod::Post, path, id).fails(403, FOREIGN)
}

/// An operation that removes something.
pub fn delete(path: &'static str, id: &str) -> Operation {
    Operation::new(HttpMethod::Delete, path, id).fails(403, FOREIGN)
}

impl Operation {
    fn new(method: HttpMethod, path: &'static str, id: &str) -> Self {
        let operation = OperationBuilder::new().operation_id(Some(id));
        Self { method, path, operation, schemas: Schemas::default() }
    }

    /// Under which heading it stands, what it is for in a few words, and what else is to be known.
    pub fn says(self, tag: &str, summary: &str, description: &str) -> Self {
        self.with(|operation| operation.tag(tag).summary(Some(summary)).description(Some(description)))
    }

    /// The parameter of its path.
    pub fn at(self, name: &str, schema: impl Into<RefOr<Schema>>, description: &str) -> Self {
        self.parameter(ParameterIn::Path, name, schema.into(), description)
    }

    /// Parameters of its query.
    pub fn asks(self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        parameters.into_iter().fold(self, |operation, Parameter { name, schema, description }| {
            operation.parameter(ParameterIn::Query, name, schema, description)
        })
    }

    /// A header that a request may have.
    pub fn header(self, name: &str, description: &str) -> Self {
        self.parameter(ParameterIn::Header, name, schemas::text().into(), description)
    }

    /// The body of its request, with an example.
    pub fn takes<T: ToSchema>(mut self, required: Required, description: &str, example: Value) -> Self {
        let content = ContentBuilder::new().schema(Some(self.schemas.name::<T>())).example(Some(example));
        let body = RequestBodyBuilder::new().description(Some(description)).required(Some(required));
        let body = body.content(JSON, content.build()).build();
        self.with(|operation| operation.request_body(Some(body)))
    }

    /// The same of one of these, or of a list of so many of them: a JSON array, or one on each line.
    pub fn takes_some<T: ToSchema>(mut self, max: usize, description: &str, example: Value) -> Self {
        let one = self.schemas.name::<T>();
        let list = || ArrayBuilder::new().items(one.clone()).min_items(Some(1)).max_items(Some(max));
        // Of lines the schema is that of all of them as one list.
        let lines = ContentBuilder::new().schema(Some(list()));
        let schema = OneOfBuilder::new().item(one.clone()).item(list());
        let content = ContentBuilder::new().schema(Some(schema)).example(Some(example));
        let body = RequestBodyBuilder::new().description(Some(description)).required(Some(Required::True));
        let body = body.content(JSON, content.build()).content(LINES, lines.build()).build();
        self.with(|operation| operation.request_body(Some(body)))
    }

    /// 200 with one of these as the data.
    pub fn answers<T: ToSchema>(mut self, description: &str) -> Self {
        let data = self.schemas.name::<T>();
        self.response(200, in_envelope(data, &[]), description)
    }

    /// 200 with one of these, or with what the act would do, as the data.
    pub fn answers_or_tells<T: ToSchema, E: ToSchema>(mut self, description: &str) -> Self {
        self.schemas.name::<E>();
        let data = OneOfBuilder::new().item(self.schemas.name::<T>()).item(Preview::<E>::schema());
        self.response(200, in_envelope(data, &[]), description)
    }

    /// 200 with one of these or one of those as the data.
    pub fn answers_either<T: ToSchema, U: ToSchema>(mut self, description: &str) -> Self {
        let data = OneOfBuilder::new().item(self.schemas.name::<T>()).item(self.schemas.name::<U>());
        self.response(200, in_envelope(data, &[]), description)
    }

    /// 207 with one of these as the data.
    pub fn answers_in_part<T: ToSchema>(mut self, description: &str) -> Self {
        let data = self.schemas.name::<T>();
        self.response(207, in_envelope(data, &[]), description)
    }

    /// 200 with a list of these as the data.
    pub fn lists<T: ToSchema>(mut self, beside: &[Beside], description: &str) -> Self {
        let data = ArrayBuilder::new().items(self.schemas.name::<T>());
        self.response(200, in_envelope(data, beside), description)
    }

    /// 200 with either a list of these, or one of those, as the data.
    pub fn lists_or_answers<T: ToSchema, U: ToSchema>(mut self, beside: &[Beside], description: &str) -> Self {
        let list = ArrayBuilder::new().items(self.schemas.name::<T>());
        let data = OneOfBuilder::new().item(list).item(self.schemas.name::<U>());
        self.response(200, in_envelope(data, beside), description)
    }

    /// 200 with something that is not in the envelope.
    pub fn sends(mut self, media_type: &str, content: fn(&mut Schemas) -> Content, description: &str) -> Self {
        let content = content(&mut self.schemas);
        self.responding(200, ResponseBuilder::new().content(media_type, content), description)
    }

    /// 304 where the client has it.
    pub fn unless_had(self) -> Self {
        let has = "The client has this already: its `If-None-Match` names the answer's `ETag`.";
        self.header("If-None-Match", "The `ETag` of what the client has.").responding(304, ResponseBuilder::new(), has)
    }

    /// Another status, which is an error, and when it comes.
    pub fn fails(self, status: u16, when: &str) -> Self {
        self.response(status, Ref::from_schema_name(ERROR), when)
    }

    /// A key for this is needed, where keys are asked for at all.
    pub fn needs(self, scope: Scope) -> Self {
        let is_open = SecurityRequirement::default();
        let needs = SecurityRequirement::new(KEY, [scope.to_string()]);
        self.with(|operation| operation.security(is_open).security(needs))
            .fails(401, "Keys are asked for, and the request has none that counts.")
            .fails(403, &format!("The key is not for this: it needs the scope `{scope}`, and a message's channel."))
    }

    /// 503 with one of these beside the error.
    pub fn fails_with<T: ToSchema>(mut self, when: &str) -> Self {
        let data = self.schemas.name::<T>();
        let schema = in_envelope(data, &[]).property("error", schemas::text()).required("error");
        self.response(503, schema, when)
    }

    /// Another status, which is an error, with or without one of these beside it.
    pub fn may_fail_with<T: ToSchema>(mut self, status: u16, when: &str) -> Self {
        let data = self.schemas.name::<T>();
        let with_data = in_envelope(data, &[]).property("error", schemas::text()).required("error");
        let schema = OneOfBuilder::new().item(Ref::from_schema_name(ERROR)).item(with_data);
        self.response(status, RefOr::<Schema>::from(schema), when)
    }

    /// 308 to another address.
    pub fn redirects(self, to: &str) -> Self {
        let response = ResponseBuilder::new().header("Location", header(Type::String, "That address."));
        self.responding(308, response, to)
    }

    /// Puts it, and the schemas that it names, where they belong.
    pub fn put_into(self, paths: &mut Paths, schemas: &mut Schemas) {
        paths.add_path_operation(self.path, vec![self.method], self.operation.build());
        schemas.extend(self.schemas);
    }

    fn parameter(self, place: ParameterIn, name: &str, schema: RefOr<Schema>, description: &str) -> Self {
        let required = if place == ParameterIn::Path { Required::True } else { Required::False };
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        let parameter = parameter.description(Some(description)).schema(Some(schema));
        self.with(|operation| operation.parameter(parameter))
    }

    fn response(self, status: u16, schema: impl Into<RefOr<Schema>>, description: &str) -> Self {
        let response = ResponseBuilder::new().content(JSON, Content::new(Some(schema)));
        self.responding(status, response, description)
    }

    fn responding(self, status: u16, response: ResponseBuilder, description: &str) -> Self {
        let named = |name| Ref::new(format!("#/components/headers/{name}"));
        let mut response = response.description(description).header_ref(REQUEST_ID, named(REQUEST_ID));
        let more = match status {
            401 => &[AUTHENTICATE][..],
            429 => &[RETRY_AFTER, RATE_LIMIT, RATE_LIMIT_POLICY],
            503 => &[RETRY_AFTER],
            _ => &[],
        };
        for name in more {
            response = response.header_ref(*name, named(name));
        }
        self.with(|operation| operation.response(status.to_string(), response))
    }

    fn with(self, change: impl FnOnce(OperationBuilder) -> OperationBuilder) -> Self {
        Self { operation: change(self.operation), ..self }
    }
}

impl Beside {
    fn property(self) -> (&'static str, ObjectBuilder) {
        let (name, schema, description) = match self {
            Self::NextCursor => {
                ("next_cursor", schemas::text(), "Where the next page begins; absent from the last one.")
            }
            Self::Revision => ("revision", schemas::text(), "Where this was read: `since` of `GET /rockets/live`."),
            Self::TrimmedThrough => {
                let description = "Up to which number the history was trimmed; absent where it is whole.";
                ("trimmed_through", schemas::number(1), description)
            }
        };
        (name, schema.description(Some(description)))
    }
}

/// The envelope of every answer: the request's id, and the data.
fn in_envelope(data: impl Into<RefOr<Schema>>, beside: &[Beside]) -> ObjectBuilder {
    let envelope = envelope().property("data", data).required("data");
    beside
        .iter()
        .map(|beside| beside.property())
        .fold(envelope, |envelope, (name, schema)| envelope.property(name, schema))
}

/// The envelope of an error.
pub fn error() -> ObjectBuilder {
    let said = schemas::text().description(Some("What is wrong, in words; of a request, with the name of the field."));
    envelope().property("error", said).required("error")
}

fn envelope() -> ObjectBuilder {
    let id = schemas::text().description(Some("What the request is called."));
    let nothing_else = AdditionalProperties::FreeForm(false);
    ObjectBuilder::new().property("request_id", id).required("request_id").additional_properties(Some(nothing_else))
}

/// The headers that answers have, by their names.
pub fn headers() -> [(&'static str, Header); 5] {
    let id = header(Type::String, "What the request is called in answers and logs: as it was sent, or made.");
    [
        (REQUEST_ID, id),
        (RETRY_AFTER, header(Type::Integer, "After how many seconds to ask again.")),
        (AUTHENTICATE, header(Type::String, "`Bearer`.")),
        (RATE_LIMIT, header(Type::String, "What is left of the rate, and in how many seconds there is more.")),
        (RATE_LIMIT_POLICY, header(Type::String, "The rate: how many, in how many seconds.")),
    ]
}

/// How a request has a key.
pub fn security() -> (&'static str, SecurityScheme) {
    let about = "A key of `rockets key new`, where `auth.mode` is `required`.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("rkt_<id>_<secret>");
    (KEY, SecurityScheme::Http(scheme.description(Some(about)).build()))
}

fn header(schema_type: Type, description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(schema_type);
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}
