//! What the compose files and the manifests for Kubernetes deny each container, and which login each has. What an engine makes
//! of it is looked at in tests/containers.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rockets::internals::User;
use serde::Deserialize as _;
use serde_json::{Value, json};
use strum::VariantArray as _;

const COMPOSE: [&str; 2] = ["docker-compose.yml", "docker-compose.cluster.yml"];
const MANIFESTS: [&str; 2] = ["deploy/kubernetes/nats.yaml", "deploy/kubernetes/rockets.yaml"];
/// Who the program runs as, in its image and wherever that is run.
const NOBODY: u32 = 65532;

fn text(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The documents of a file.
fn documents(file: &str) -> Vec<Value> {
    let text = text(file);
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(|document| {
        let mut document = serde_yaml_ng::Value::deserialize(document).unwrap();
        merge(&mut document);
        serde_json::to_value(document).unwrap()
    });
    documents.collect()
}

/// Puts in what is merged from elsewhere, and what that merges itself.
fn merge(document: &mut serde_yaml_ng::Value) {
    loop {
        let before = document.clone();
        document.apply_merge().unwrap();
        if *document == before {
            return;
        }
    }
}

/// The services of compose that say themselves what they are, with their names; what only adds to another file's is left out.
fn services() -> Vec<(String, Value)> {
    let of_file = |file: &str| documents(file).remove(0)["services"].as_object().unwrap().clone();
    let services = COMPOSE.iter().flat_map(|file| of_file(file)).filter(|(_, service)| !service["image"].is_null());
    let services: Vec<_> = services.collect();
    assert!(services.len() > 10, "the services are not where they are looked for");
    services
}

/// Whether a service runs the program, or the broker; others come from elsewhere, as they are.
fn is_ours(service: &Value) -> bool {
    service["image"] == "rockets"
}

fn is_broker(service: &Value) -> bool {
    service["image"].as_str().unwrap().starts_with("${NATS_IMAGE")
}

/// Which user of the broker a container is, with the volume or secret of which its password comes.
fn login(user: &Value) -> (String, String) {
    let user = user.as_str().unwrap_or_default();
    assert!(User::VARIANTS.iter().any(|known| known.name() == user), "{user:?} is no user of the broker");
    (user.to_owned(), format!("login-{user}"))
}

#[test]
fn every_container_of_compose_is_confined() {
    for (name, service) in services() {
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["cap_add"], Value::Null, "{name}");
        assert_eq!(service["privileged"], Value::Null, "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        assert!(service["pids_limit"].as_u64().is_some(), "{name}");
        assert!(service["mem_limit"].is_string(), "{name}");
        if is_ours(&service) || is_broker(&service) {
            assert_eq!(service["read_only"], true, "{name}");
        }
        if is_ours(&service) {
            assert_eq!(service["user"], format!("{NOBODY}:{NOBODY}"), "{name}");
        }
        if is_broker(&service) {
            // Root without its rights, because the volume is root's; no more than the group to read its users.
            assert_eq!(service["user"], format!("0:{NOBODY}"), "{name}");
        }
    }
}

#[test]
fn every_container_of_compose_has_its_own_login_and_no_other() {
    let mut seen = BTreeSet::new();
    for (name, service) in services().into_iter().filter(|(_, service)| is_ours(service)) {
        let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
        let volumes: Vec<_> = volumes.iter().filter_map(Value::as_str).collect();
        let environment = &service["environment"];
        if name == "logins" || environment.is_null() {
            continue;
        }
        let (user, volume) = login(&environment["ROCKETS_NATS__USER"]);
        assert_eq!(environment["ROCKETS_NATS__PASSWORD_FILE"], "/login/password", "{name}");
        assert_eq!(volumes, [format!("{volume}:/login:ro")], "{name}");
        seen.insert(user);
    }
    assert_eq!(seen, ["admin", "ingest", "query", "track", "up"].map(str::to_owned).into());
    for (name, service) in services().into_iter().filter(|(_, service)| is_broker(service)) {
        let config = "/etc/rockets/with-users.conf";
        assert!(service["command"].as_array().unwrap().contains(&json!(config)), "{name}");
        assert!(
            service["volumes"].as_array().unwrap().contains(&json!("login-broker:/etc/rockets/login:ro")),
            "{name}"
        );
    }
}

/// A volume belongs to who makes the logins only if the image has the folder.
#[test]
fn there_is_a_place_for_every_login() {
    let folders = ["broker"].into_iter().chain(User::VARIANTS.iter().map(|user| user.name()));
    let folders: BTreeSet<_> = folders.map(|name| format!("/logins/{name}")).collect();
    let (_, logins) = services().into_iter().find(|(name, _)| name == "logins").unwrap();
    let volumes: BTreeSet<_> = logins["volumes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let expected: Vec<_> =
        folders.iter().map(|folder| format!("{}:{folder}", folder.replacen("/logins/", "login-", 1))).collect();
    assert_eq!(volumes, expected.iter().map(String::as_str).collect());
    let dockerfile = text("Dockerfile");
    let made = dockerfile.lines().find_map(|line| line.strip_prefix("RUN mkdir -p /logins")).unwrap();
    let made: BTreeSet<_> = format!("/logins{made}").split(' ').map(str::to_owned).collect();
    assert_eq!(made, folders);
}

/// The pods of the manifests, each with a name.
fn pods() -> Vec<(String, Value)> {
    let documents = MANIFESTS.iter().flat_map(|file| documents(file));
    let pods = documents.filter(|document| !document["spec"]["template"].is_null());
    let pods: Vec<_> = pods
        .map(|it| (it["metadata"]["name"].as_str().unwrap().to_owned(), it["spec"]["template"]["spec"].clone()))
        .collect();
    assert_eq!(pods.len(), 4);
    pods
}

#[test]
fn every_pod_is_confined() {
    for (name, pod) in pods() {
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{name}");
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert_eq!(context[id], NOBODY, "{name}");
        }
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        for container in pod["containers"].as_array().unwrap() {
            let denied = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            });
            assert_eq!(container["securityContext"], denied, "{name}");
            let resources = &container["resources"];
            assert!(resources["requests"]["cpu"].is_string(), "{name}");
            assert!(resources["requests"]["memory"].is_string() && resources["limits"]["memory"].is_string(), "{name}");
        }
    }
}

#[test]
fn every_pod_has_its_own_login_and_no_other() {
    for (name, pod) in pods() {
        let volumes = pod["volumes"].as_array().unwrap();
        let container = &pod["containers"][0];
        if name == "nats" {
            assert!(container["args"].as_array().unwrap().contains(&json!("/etc/nats-rockets/with-users.conf")));
            let sources = volumes[0]["projected"]["sources"].as_array().unwrap();
            assert_eq!(sources[1]["secret"]["name"], "nats-login-broker");
            continue;
        }
        assert_eq!(container["env"][0]["name"], "ROCKETS_NATS__USER", "{name}");
        let (_, volume) = login(&container["env"][0]["value"]);
        let secret = json!({ "secretName": format!("nats-{volume}"), "defaultMode": "0440" });
        assert_eq!(volumes, &[json!({ "name": "login", "secret": secret })], "{name}");
        assert_eq!(
            container["volumeMounts"],
            json!([{ "name": "login", "mountPath": "/login", "readOnly": true }]),
            "{name}"
        );
    }
}

/// The images that everything stands on have one name, wherever no other one is given.
#[test]
fn the_same_images_are_meant_everywhere() {
    let (compose, dockerfile) = (text("docker-compose.yml"), text("Dockerfile"));
    for variable in ["RUST_IMAGE", "DEBIAN_IMAGE"] {
        let begin = format!("ARG {variable}=");
        let image = dockerfile.lines().find_map(|line| line.strip_prefix(&begin)).unwrap();
        assert!(compose.contains(&format!("${{{variable}:-{image}}}")), "{variable} is {image} in the Dockerfile");
    }
    let brokers: Vec<_> = services().into_iter().filter(|(_, service)| is_broker(service)).collect();
    let images: BTreeSet<_> = brokers.iter().map(|(_, service)| service["image"].as_str().unwrap()).collect();
    let [image] = images.into_iter().collect::<Vec<_>>()[..] else { panic!("brokers of several images") };
    let (_, pod) = pods().into_iter().find(|(name, _)| name == "nats").unwrap();
    assert_eq!(image, format!("${{NATS_IMAGE:-{}}}", pod["containers"][0]["image"].as_str().unwrap()));
}

#[test]
fn a_release_can_name_them_by_digest() {
    let engine = tempfile::TempDir::new().unwrap();
    let docker = engine.path().join("docker");
    let says =
        "for image; do :; done\n[ \"$1\" = pull ] || printf 'mirror/x@sha256:0\\n%s@sha256:f00\\n' \"${image%:*}\"";
    std::fs::write(&docker, format!("#!/bin/sh\n{says}\n")).unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", engine.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base-images"));
    let output = command.env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let compose = text("docker-compose.yml");
    let defaults = super::between(&compose, "_IMAGE:-", "}");
    let expected: BTreeSet<_> = defaults.map(|image| format!("{image}@sha256:f00")).collect();
    let found: BTreeSet<_> = printed.lines().map(|line| line.split_once("_IMAGE=").unwrap().1.to_owned()).collect();
    assert_eq!((found.len(), found), (3, expected));
}
