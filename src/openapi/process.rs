//! What orchestrators and people look at: health, metrics, the page, and this description.

use utoipa::openapi::{Content, ObjectBuilder};

use super::operation::{Operation, get};
use super::schemas::{Schemas, text};
use crate::auth::Scope;
use crate::http::health::{Health, Readiness};
use crate::metrics::CONTENT_TYPE;

const HTML: &str = "text/html; charset=utf-8";

/// The heading of these.
pub const TAG: &str = "process";

const HAS_ITS_FILES: &str = "Files of the program, which come as they are.";

/// All of them.
pub fn operations() -> [Operation; 9] {
    [
        get("/livez", "alive")
            .says(TAG, "Whether the process runs", "For an orchestrator, which restarts it otherwise.")
            .answers::<Health>("It does."),
        get("/readyz", "ready")
            .says(
                TAG,
                "Whether it is ready for work",
                "For a load balancer. What is wrong and stops nothing is told with 200.",
            )
            .answers::<Readiness>("Each role does its work.")
            .fails_with::<Readiness>("A role cannot do its work, or the process is about to end."),
        get("/health", "health")
            .says(TAG, "Whether it does its work", "The same in one word.")
            .answers::<Health>("It does.")
            .fails_with::<Health>("It does not."),
        get("/metrics", "metrics")
            .says(TAG, "Figures for Prometheus", "What this process counts.")
            .needs(Scope::Read)
            .sends(CONTENT_TYPE, any_text, "The figures."),
        get("/", "page").says(TAG, "The page", HAS_ITS_FILES).unless_had().sends(HTML, any_text, "It."),
        file("/page/{file}", "pageFile"),
        get("/openapi.json", "openapi").says(TAG, "This description", HAS_ITS_FILES).unless_had().sends(
            "application/json",
            any_object,
            "It.",
        ),
        get("/docs", "docs")
            .says(TAG, "This description, for people", HAS_ITS_FILES)
            .unless_had()
            .sends(HTML, any_text, "It, where the path ends in a slash.")
            .redirects("Where it does not."),
        file("/docs/{file}", "docsFile"),
    ]
}

fn file(path: &'static str, id: &str) -> Operation {
    let operation = get(path, id).says(TAG, "One of the page's files", HAS_ITS_FILES);
    operation.at("file", text(), "Its name.").unless_had().sends("*/*", any_text, "It.").fails(404, "There is none.")
}

fn any_text(_: &mut Schemas) -> Content {
    Content::new(Some(text()))
}

fn any_object(_: &mut Schemas) -> Content {
    Content::new(Some(ObjectBuilder::new()))
}
