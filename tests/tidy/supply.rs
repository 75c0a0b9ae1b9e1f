//! What others wrote that is part of the program: from where, under which licence, with which features; and that the image is
//! made as a release is. The rules are those of `.cargo/deny.toml`; `make advisories` has cargo-deny itself read them, and ask a
//! database what is known to be broken.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What async-nats is taken with. More would bring more code of others to the place where everybody connects.
const BROKER_CLIENT_FEATURES: [&str; 5] = ["jetstream", "kv", "nkeys", "nuid", "ring"];

fn text_of(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn rules() -> toml::Table {
    text_of(".cargo/deny.toml").parse().unwrap()
}

fn texts(rules: &toml::Value) -> impl Iterator<Item = &str> {
    rules.as_array().into_iter().flatten().filter_map(toml::Value::as_str)
}

/// What is built on this platform: of others not everything need have been downloaded.
fn metadata() -> Value {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--all-features", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The packages of others, with their names.
fn packages(metadata: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (package["name"].as_str().unwrap(), package)).filter(|(name, _)| *name != "rockets")
}

/// The features that a package is built with.
fn features<'a>(metadata: &'a Value, name: &str) -> Vec<&'a str> {
    let ids: Vec<_> =
        packages(metadata).filter(|(known, _)| *known == name).map(|(_, package)| &package["id"]).collect();
    assert!(!ids.is_empty(), "{name} is there");
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter().filter(|node| ids.contains(&&node["id"]));
    nodes.flat_map(|node| node["features"].as_array().unwrap()).filter_map(Value::as_str).collect()
}

#[test]
fn all_of_it_comes_from_one_registry() {
    let metadata = metadata();
    for (name, package) in packages(&metadata) {
        assert_eq!(package["source"], CRATES_IO, "{name}");
    }
    assert!(packages(&metadata).count() > 100);
}

#[test]
fn its_licences_are_those_that_are_allowed() {
    let (rules, metadata) = (rules(), metadata());
    let allowed: Vec<_> = texts(&rules["licenses"]["allow"]).collect();
    let is_allowed = |requirement: &spdx::LicenseReq| allowed.contains(&requirement.license.to_string().as_str());
    for (name, package) in packages(&metadata) {
        let said = package["license"].as_str().unwrap_or_else(|| panic!("{name} says its licence"));
        let licence = spdx::Expression::parse_mode(said, spdx::ParseMode::LAX).unwrap();
        assert!(licence.evaluate(is_allowed), "{name} is under {said}");
    }
}

#[test]
fn nothing_of_it_is_forbidden() {
    let (rules, metadata) = (rules(), metadata());
    for forbidden in rules["bans"]["deny"].as_array().unwrap() {
        let forbidden = forbidden["name"].as_str().unwrap();
        assert!(packages(&metadata).all(|(name, _)| name != forbidden), "{forbidden} is there");
    }
    for rule in rules["bans"]["features"].as_array().unwrap() {
        let (name, found) = (rule["name"].as_str().unwrap(), features(&metadata, rule["name"].as_str().unwrap()));
        assert!(texts(&rule["deny"]).all(|feature| !found.contains(&feature)), "{name} has {found:?}");
    }
}

#[test]
fn the_broker_s_client_has_the_features_that_are_used() {
    let metadata = metadata();
    let mut found = features(&metadata, "async-nats");
    // What a version of the broker brought.
    found.retain(|feature| !feature.starts_with("server_2_"));
    assert_eq!(found, BROKER_CLIENT_FEATURES);
}

/// What follows a text, up to the end of its word.
fn word_after<'a>(text: &'a str, begin: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap();
    rest.split(|character: char| character.is_whitespace() || "\"-\\".contains(character)).next().unwrap_or_default()
}

#[test]
fn the_image_is_made_as_a_release_is() {
    let (image, release, makefile) = (text_of("Dockerfile"), text_of("deploy/release"), text_of("Makefile"));
    let (toolchain, of_image) = (word_after(&release, "RUSTUP_TOOLCHAIN="), word_after(&image, "RUST_IMAGE=rust:"));
    assert!(toolchain.starts_with(&format!("{of_image}.")), "{toolchain} and {of_image}");
    let tool = "cargo-auditable@";
    assert_eq!(word_after(&image, tool), word_after(&makefile, tool));
    let builds: Vec<_> = image.lines().filter(|line| line.contains("--release")).collect();
    assert!(!builds.is_empty() && builds.iter().all(|build| build.contains("build --locked")), "{builds:?}");
    assert!(builds.last().unwrap().contains("cargo auditable build"), "{builds:?}");
    assert!(image.contains("--remap-path-prefix=/build=. --remap-path-prefix=/usr/local/cargo=cargo"));
    assert_eq!(word_after(&image, "image.version=\""), env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_image_s_history_can_hold_no_secret() {
    // Whatever is handed to a build is kept in the history of its image.
    let image = text_of("Dockerfile");
    let handed = image.lines().filter_map(|line| line.strip_prefix("ARG ")?.split('=').next());
    assert_eq!(handed.collect::<Vec<_>>(), ["RUST_IMAGE", "DEBIAN_IMAGE"]);
}
