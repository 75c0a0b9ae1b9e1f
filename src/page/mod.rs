//! The page at `/`: the fleet as it flies, with its gaps and dead letters, for whoever opens the address in a browser.
//!
//! It is files, in `assets`, which are part of the program: plain HTML, CSS and modules, used as they were written. They
//! speak to the same public routes as everybody, and to no other host; a browser is told to allow nothing else. What this
//! module deliberately does not do: make anything. There are no templates, and nothing that a rocket says is ever part of a file.

use crate::http::route::{Request, Routes, any, get};
use crate::http::{Access, Answer, File, Files};

/// Scripts, styles and requests only from and to where the page is from, and no text that becomes a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The document itself, which is at `/`.
const DOCUMENT: &str = "index.html";

macro_rules! assets {
    ($($name:literal)*) => { [$(($name, include_bytes!(concat!("assets/", $name)) as &'static [u8])),*] };
}

/// All files, by their names.
static ASSETS: [(&str, &[u8]); 30] = assets![
    "index.html" "icon.svg" "base.css" "layout.css" "parts.css" "theme.js" "main.js"
    "api.js" "cells.js" "chart.js" "correct.js" "dead-letters.js" "dialog.js" "dom.js" "exact.js" "fleet.js" "fleet-view.js"
    "format.js" "header.js" "history.js" "keys.js" "message.js" "picture.js" "problems.js" "replay-many.js" "rocket.js"
    "stream.js" "table.js" "url.js" "who.js"
];

/// `/`, and its files below `/page/`.
pub fn routes() -> Routes {
    let files: Files = ASSETS.iter().map(|(name, bytes)| (*name, File::new(name, *bytes, POLICY))).collect();
    any([get("", Access::Open, &files, document), get("page/:", Access::Open, &files, file)])
}

async fn document(files: Files, request: Request) -> Result<Answer, Answer> {
    Ok(files.answer(DOCUMENT, &request.head.headers))
}

async fn file(files: Files, request: Request) -> Result<Answer, Answer> {
    Ok(files.answer(&request.parameter, &request.head.headers))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
        ASSETS.iter().map(|(name, bytes)| (*name, std::str::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_nothing_else() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page/assets");
        let there = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let served = ASSETS.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(served.collect::<BTreeSet<_>>(), there.collect::<BTreeSet<_>>());
    }

    #[test]
    fn what_a_file_names_is_there() {
        let names: BTreeSet<_> = ASSETS.iter().map(|(name, _)| *name).collect();
        let mut seen = 0;
        for (file, text) in texts() {
            let imported = text.split("from \"./").skip(1);
            let linked = text.split("\"page/").skip(1);
            for name in imported.chain(linked).filter_map(|rest| rest.split('"').next()) {
                assert!(names.contains(name), "{file} names {name}, which is not there");
                seen += 1;
            }
        }
        assert!(seen > 60, "names are not where they are looked for");
    }

    #[test]
    fn every_file_says_what_it_is_for() {
        for (name, text) in texts().filter(|(name, _)| !name.ends_with(".html") && !name.ends_with(".svg")) {
            assert!(text.starts_with("// ") || text.starts_with("/* "), "{name} does not begin with what it is for");
        }
    }

    #[test]
    fn nothing_is_written_that_the_policy_forbids() {
        for (name, text) in texts() {
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\"", "https:"]
            {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
            // The name of a language is no address.
            let addresses = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!addresses.contains("http:") && !addresses.contains("url("), "{name} names another host");
        }
    }
}
