//! The rules of the code base that a compiler does not know: who may import whom, and how large things may grow.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own sources has failed")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/confined.rs"]
mod confined;
#[path = "tidy/scaling.rs"]
mod scaling;
#[path = "tidy/supply.rs"]
mod supply;

/// Longest function, in lines; when one grows beyond it, a noun is missing.
const FUNCTION_LINES_MAX: usize = 75;
/// Longest file, in lines without its tests.
const FILE_LINES_MAX: usize = 400;

/// Longest README, in words: what is more belongs into docs.
const README_WORDS_MAX: usize = 900;

/// Words that once meant what the glossary has another word for: as parts of names, and as they stood in texts.
const OLD_NAMES: [&str; 19] = [
    "act", "acts", "buried", "bury", "desk", "glance", "letter", "letters", "owed", "owes", "owing", "parked",
    "refold", "survey", "tap", "told", "untold", "vain", "weather",
];
const OLD_PHRASES: [&str; 13] = [
    " anew",
    " owes ",
    " untold",
    "an act ",
    "are let go",
    "could move",
    "first in line",
    "is let go",
    "operator's word",
    "take up",
    "taken up",
    "takes up",
    "took its place",
];

/// A source file, by its path below `src`, without comments and without its tests.
struct Source {
    path: String,
    text: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 40, "the sources are not where they are looked for");
    files.into_iter().map(|file| source(&root, &file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn source(root: &Path, file: &Path) -> Source {
    let text = fs::read_to_string(file).unwrap();
    let is_test = file.ends_with("tests.rs") || file.parent().is_some_and(|folder| folder.ends_with("tests"));
    let without_tests = text.split("\n#[cfg(test)]\nmod tests {").next().filter(|_| !is_test).unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code = without_tests.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let path = file.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    Source { path, text, code }
}

/// Fails with the files of a folder in which a text stands that must not stand there.
fn forbid(folder: &str, texts: &[&str]) {
    for source in sources().iter().filter(|source| source.path.starts_with(folder)) {
        for text in texts {
            assert!(!source.code.contains(text), "src/{} must not use {text}", source.path);
        }
    }
}

#[test]
fn the_domain_is_pure() {
    let impure = ["async ", "tokio", "tracing", "rand", "std::env", "std::fs", "std::net", "std::thread"];
    forbid("domain/", &impure);
    forbid("domain/", &["SystemTime", "Instant::now", "now_utc", "Uuid::new", "crate::"]);
}

#[test]
fn only_the_broker_speaks_nats() {
    for source in sources().iter().filter(|source| !source.path.starts_with("broker/")) {
        assert!(!source.code.contains("async_nats::"), "src/{} must leave NATS to src/broker", source.path);
    }
    let roles = ["crate::ingest", "crate::track", "crate::query", "crate::admin"];
    forbid("broker/", &[&["crate::http", "crate::up", "crate::config"][..], &roles].concat());
}

#[test]
fn names_at_the_broker_are_spelled_in_one_file() {
    for source in sources().iter().filter(|source| source.path != "broker/topology.rs") {
        for name in
            ["\"ROCKETS\"", "\"ROCKETS_DLQ", "\"KV_rockets", "\"$KV.", "\"rockets_dlq", "\"Rockets-", "\"rockets-p"]
        {
            assert!(
                !source.code.contains(name),
                "src/{} spells {name}…, which is broker/topology's to do",
                source.path
            );
        }
    }
}

#[test]
fn http_knows_neither_broker_nor_rockets() {
    forbid("http/", &["crate::broker", "crate::domain", "crate::ingest", "crate::track", "crate::query"]);
    forbid("http/", &["crate::admin"]);
}

#[test]
fn roles_meet_only_through_the_broker() {
    let roles = ["ingest", "track", "query", "admin"];
    for role in roles {
        let others = roles.iter().filter(|other| **other != role).map(|other| format!("crate::{other}"));
        let others: Vec<_> = others.collect();
        forbid(&format!("{role}/"), &others.iter().map(String::as_str).collect::<Vec<_>>());
        forbid(&format!("{role}/"), &["crate::up", "crate::roles", "crate::cli"]);
    }
}

#[test]
fn the_load_generator_shares_nothing_with_the_rest() {
    for source in sources().iter().filter(|source| source.path.starts_with("launch/")) {
        // How something is shown, and how HTTP is spoken, has nothing to do with what is sent and expected.
        let shared = ["crate::client::", "crate::text::", "crate::terminal::"];
        let code = shared.iter().fold(source.code.clone(), |code, shared| code.replace(shared, ""));
        assert!(!code.contains("crate::") && !code.contains("rockets::"), "src/{} is to be a stranger", source.path);
    }
}

#[test]
fn an_import_is_a_user_like_any_other() {
    forbid(
        "import/",
        &["crate::broker", "crate::config", "crate::http", "crate::ingest", "crate::track", "crate::query"],
    );
}

#[test]
fn every_module_says_what_it_is_for() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "src/{} does not begin with what it is for", source.path);
    }
}

#[test]
fn files_and_functions_stay_small() {
    for source in sources() {
        let lines = source.code.lines().count();
        assert!(lines <= FILE_LINES_MAX, "src/{} has {lines} lines", source.path);
        for (name, lines) in functions(&source.code) {
            assert!(lines <= FUNCTION_LINES_MAX, "{name} in src/{} has {lines} lines", source.path);
        }
    }
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.to_owned(), root.join("docs"), root.join("docs/decisions")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let documents: Vec<_> = files.filter(|file| file.extension().is_some_and(|extension| extension == "md")).collect();
    assert!(documents.len() > 30, "the documents are not where they are looked for");
    documents
}

/// What stands between two texts, each time.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0))
}

/// The name that a heading is linked to by.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|dead_letter| dead_letter.is_alphanumeric() || *dead_letter == '-').collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let links = between(&text, "](", ")").filter(|link| !link.starts_with("http"));
        for (file, heading) in links.map(|link| link.split_once('#').unwrap_or((link, ""))) {
            let target = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(target.exists(), "{} links to {file}, which is not there", document.display());
            let known = heading.is_empty()
                || fs::read_to_string(target)
                    .unwrap()
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(known, "{} links to #{heading} of {file}, which is not there", document.display());
        }
    }
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    let (root, mut named) = (Path::new(env!("CARGO_MANIFEST_DIR")), 0);
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let is_file = |name: &&str| ["src/", "tests/", "docs/"].iter().any(|folder| name.starts_with(folder));
        for name in text.split('`').filter(is_file).filter(|name| !name.contains(char::is_whitespace)) {
            assert!(root.join(name).exists(), "{} names {name}, which is not there", document.display());
            named += 1;
        }
    }
    assert!(named > 100, "the documents name only {named} files");
}

#[test]
fn every_command_of_the_documents_is_run_by_a_test_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for at in (0..lines.len()).filter(|at| lines[*at] == "```sh") {
            let mark = at.checked_sub(1).and_then(|at| lines[at].strip_prefix("<!-- ")?.strip_suffix(" -->"));
            let (path, line) = (document.display(), at + 1);
            let mark = mark.unwrap_or_else(|| panic!("{path}:{line}: who runs these commands, or why does nobody?"));
            if let Some(test) = mark.strip_prefix("run by tests/") {
                let test = test.split(',').next().unwrap_or_default();
                assert!(root.join("tests").join(test).exists(), "{path}:{line}: there is no tests/{test}");
            } else {
                assert!(mark.starts_with("not run: ") || mark.starts_with("run by make "), "{path}:{line}: {mark}");
            }
        }
    }
}

#[test]
fn every_warning_and_error_of_the_log_is_explained() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let explained = fs::read_to_string(path).unwrap();
    let mut seen = 0;
    for source in sources().iter().filter(|source| !source.path.starts_with("simulation/")) {
        let logged = ["tracing::warn!(", "tracing::error!(", "limited!(warn, ", "limited!(error, "]
            .map(|begin| source.code.split(begin).skip(1));
        let messages = logged.into_iter().flatten().filter_map(last_text);
        // What begins with a brace passes another program's text on.
        for message in messages.filter(|message| !message.starts_with('{')) {
            seen += 1;
            assert!(
                explained.contains(message),
                "docs/operations.md does not explain {message:?}, of src/{}",
                source.path
            );
        }
    }
    assert!(seen > 30, "the messages are not where they are looked for");
}

/// The last text among the arguments that this begins with.
fn last_text(arguments: &str) -> Option<&str> {
    let (mut depth, mut text, mut last) = (1, None, None);
    for (at, dead_letter) in arguments.char_indices() {
        match (dead_letter, text) {
            ('"', None) => text = Some(at + 1),
            ('"', Some(begin)) => (text, last) = (None, Some(&arguments[begin..at])),
            ('(', None) => depth += 1,
            (')', None) => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    last
}

/// The parts of a name: `last_act` and `LastAct` have the same two.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for letter in name.chars() {
        let last = parts.last_mut().unwrap();
        match letter {
            '_' => parts.push(String::new()),
            _ if letter.is_uppercase() && last.ends_with(char::is_lowercase) => {
                parts.push(letter.to_lowercase().collect())
            }
            _ => last.extend(letter.to_lowercase()),
        }
    }
    parts
}

/// Names of code, without what stands in quotes: texts may quote what is stored.
fn names(code: &str) -> Vec<String> {
    let plain = code.split("r#\"").enumerate().map(|(at, text)| match at {
        0 => text,
        _ => text.split_once("\"#").map_or("", |(_, behind)| behind),
    });
    let plain = plain.collect::<String>().replace("\\\"", "");
    let outside = plain.split('"').step_by(2);
    let names = outside.flat_map(|text| text.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn the_glossary_s_words_are_used() {
    // What a dead letter is has two words, and a letter of a text is one.
    let is_old = |parts: &[String], at: usize| {
        OLD_NAMES.contains(&&*parts[at]) && !(parts[at].starts_with("letter") && at > 0 && parts[at - 1] == "dead")
    };
    for source in sources().iter() {
        for name in names(&source.code) {
            let parts = parts(&name);
            let old = (0..parts.len()).find(|at| is_old(&parts, *at));
            assert!(old.is_none(), "src/{} has {name}: docs/glossary.md has another word for it", source.path);
        }
    }
    let sources = sources().into_iter().map(|source| (source.path, source.text));
    let documents = documents().into_iter().map(|file| (file.display().to_string(), fs::read_to_string(file).unwrap()));
    for (path, text) in sources.chain(documents) {
        for phrase in OLD_PHRASES {
            assert!(!text.contains(phrase), "{path} says \"{phrase}\": docs/glossary.md has another word for it");
        }
    }
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.split_whitespace().count() <= README_WORDS_MAX, "README.md is longer than {README_WORDS_MAX} words");
}

/// Each function and its length: formatted code ends a function with a brace that stands as deep as its first line.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = code.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| {
        let words = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub ");
        words.trim_start_matches("const ").trim_start_matches("async ").starts_with("fn ")
    });
    let length = |(at, line): (usize, &&str)| {
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[at..].iter().position(|later| *later == end).map_or(1, |lines| lines + 1);
        (line.trim().to_owned(), length)
    };
    starts.map(length).collect()
}
