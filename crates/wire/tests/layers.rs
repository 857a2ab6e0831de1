//! Arrows between crates point down only.

#![allow(clippy::unwrap_used)]

use std::path::Path;

/// Each crate and the crates of ours it may use. The engine's package is named `runtime`: `tasker-engine` is the Rust SDK.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("wire", &[]),
    ("schema", &[]),
    ("store", &["core", "wire"]),
    ("store-suite", &["core", "store", "wire"]),
    ("engine", &["core", "schema", "store", "wire"]),
    ("worker", &["core", "runtime", "wire"]),
    ("server", &["runtime", "store", "wire"]),
    ("sdk", &["worker"]),
    ("cli", &["core", "runtime", "server", "wire", "worker"]),
    ("../workers/python", &["cli", "runtime", "wire", "worker"]),
    ("../workers/ruby/ext/tasker_core", &["cli", "runtime", "wire", "worker"]),
];

#[test]
fn no_crate_reaches_up() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (name, allowed) in LAYERS {
        let manifest = std::fs::read_to_string(crates.join(name).join("Cargo.toml")).unwrap();
        // Tests may put a store of their own below.
        for line in manifest.split("[dev-dependencies]").next().unwrap().lines() {
            if let Some(used) = line.strip_prefix("tasker-").and_then(|l| l.split(['.', ' ', '=']).next()) {
                assert!(allowed.contains(&used), "{name} must not use tasker-{used}");
            }
        }
    }
    let known: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    for folder in std::fs::read_dir(crates).unwrap() {
        let folder = folder.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&folder.as_str()), "crates/{folder} is not in the list of layers");
    }
}
