//! The table of docs/scaling.md is what its model prints.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- printed by benches/scaling.py -->\n";
const END: &str = "<!-- its end -->";

#[test]
fn what_scaling_costs_is_what_the_model_prints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = folder.join(".venv/bin/python");
    let python = if own.is_file() { own } else { "python3".into() };
    let Ok(printed) = Command::new(python).arg("-B").arg(folder.join("benches/scaling.py")).output() else {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "there is no python, and this is continuous integration"
        );
        // Past the test runner, which shows nothing of a test that passes.
        writeln!(std::io::stderr(), "SKIPPED the table of docs/scaling.md: there is no python").unwrap();
        return;
    };
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let text = std::fs::read_to_string(folder.join("docs/scaling.md")).unwrap();
    let (_, behind) = text.split_once(BEGIN).unwrap();
    let (table, _) = behind.split_once(END).unwrap();
    assert_eq!(
        table,
        String::from_utf8(printed.stdout).unwrap(),
        "docs/scaling.md, and what benches/scaling.py prints"
    );
}
