//! `/docs`: the description for people, by Swagger UI, whose files are part of the program.
//!
//! It is at `/docs/`, so that its files are found beside it, also behind a proxy that puts something before the path. Its own
//! styles are written into elements, which its policy has to allow; scripts come only from here, as on the page.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use utoipa_swagger_ui::{Config, serve};

use crate::http::route::{Request, Routes, any, get};
use crate::http::{Access, Answer, File, Files};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What it shows, as its files see it.
const DESCRIPTION: &str = "../openapi.json";

const INDEX: &str = "index.html";

/// Those of its files that its index names.
const FILES: [&str; 8] = [
    INDEX,
    "index.css",
    "swagger-ui.css",
    "favicon-16x16.png",
    "favicon-32x32.png",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
];

/// `/docs`, and its files below.
pub fn routes() -> Routes {
    let config = Arc::new(Config::from(DESCRIPTION).use_base_layout());
    let files: Files = FILES.into_iter().filter_map(|name| Some((name, file_of(name, &config)?))).collect();
    any([get("docs", Access::Open, &files, index), get("docs/:", Access::Open, &files, file)])
}

fn file_of(name: &str, config: &Arc<Config<'static>>) -> Option<File> {
    // Made of constants: what there is, is there for good, as the test below sees.
    let bytes: Bytes = match serve(name, config.clone()).ok()??.bytes {
        Cow::Borrowed(bytes) => bytes.into(),
        Cow::Owned(bytes) => bytes.into(),
    };
    Some(File::new(name, bytes, POLICY))
}

async fn index(files: Files, request: Request) -> Result<Answer, Answer> {
    match request.is_folder() {
        true => Ok(files.answer(INDEX, &request.head.headers)),
        false => Ok(Answer::moved("docs/")),
    }
}

async fn file(files: Files, request: Request) -> Result<Answer, Answer> {
    Ok(files.answer(&request.parameter, &request.head.headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_index_names_is_there() {
        let config = Arc::new(Config::from(DESCRIPTION));
        let index = serve(INDEX, config.clone()).unwrap().unwrap();
        let index = String::from_utf8(index.bytes.into_owned()).unwrap();
        let named = index.split(['"', '\'']).map(|name| name.trim_start_matches("./"));
        let named: Vec<_> =
            named.filter(|name| [".css", ".png", ".js"].iter().any(|end| name.ends_with(end))).collect();
        assert_eq!(named.len(), FILES.len() - 1);
        for name in named {
            assert!(FILES.contains(&name) && file_of(name, &config).is_some(), "{name}");
        }
    }
}
