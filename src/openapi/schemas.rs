//! Schemas: those of types by their names, and the small ones that parameters have.

use utoipa::ToSchema;
use utoipa::openapi::schema::{ComponentsBuilder, KnownFormat, SchemaFormat};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema, Type};

/// Schemas by their names.
#[derive(Default)]
pub struct Schemas(Vec<(String, RefOr<Schema>)>);

impl Schemas {
    /// Names the schema of a type, which is then among these.
    pub fn name<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name();
        self.0.push((name.to_string(), T::schema()));
        T::schemas(&mut self.0);
        Ref::from_schema_name(name).into()
    }

    /// Adds one that is no type's.
    pub fn add(&mut self, name: &str, schema: impl Into<RefOr<Schema>>) {
        self.0.push((name.to_owned(), schema.into()));
    }

    /// Takes in others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// All of them, as a document has them.
    pub fn into_components(self) -> ComponentsBuilder {
        ComponentsBuilder::new().schemas_from_iter(self.0)
    }
}

/// Any text.
pub fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A text that says something and is no longer than what a message may have.
pub fn words() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(crate::domain::wire::STRING_CHARS_MAX))
}

/// One of these names.
pub fn one_of(names: &[&str]) -> ObjectBuilder {
    text().enum_values(Some(names.iter().copied()))
}

/// A time of RFC 3339.
pub fn time() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

/// A UUID.
pub fn uuid() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}

/// An integer from this on that fits 63 bits.
pub fn number(minimum: u8) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).minimum(Some(minimum)).maximum(Some(i64::MAX))
}

/// `true` or `false`.
pub fn flag() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}
