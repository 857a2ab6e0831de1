//! `tasker conformance run`: certifies a worker in any language against the cases this command carries.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::args::ConformanceRun;
use crate::{output, project};

macro_rules! carried {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../suite/", $path)))),+]
    };
}

/// The suite: runner, cases and golden values.
const SUITE: &[(&str, &str)] = carried![
    "runner/run.py",
    "runner/service.py",
    "classification.yaml",
    "cases/basics.yaml",
    "cases/dynamic.yaml",
    "cases/events.yaml",
    "cases/failures.yaml",
    "cases/http.yaml",
    "cases/operators.yaml",
    "cases/templates.yaml",
    "vectors/step_event.json",
    "vectors/values.jsonl",
];

/// Writes the suite into a temporary folder and runs it with the Python that has `tasker_core`.
pub(crate) fn run(args: &ConformanceRun) -> Result<i32> {
    let here = Path::new(".");
    let (program, version) = project::tasker_of_python(here)?;
    output::note(&format!("{program}, tasker_core {version}: {}", args.worker_cmd));
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    for (path, text) in SUITE {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().context("a file of the suite has no folder")?)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut command = project::python(here);
    command.arg(folder.path().join("runner/run.py")).args(["--worker-cmd", &args.worker_cmd]);
    if args.nasty {
        command.arg("--nasty");
    }
    if let Some(only) = &args.only {
        command.args(["--only", only]);
    }
    if let Some(file) = &args.report {
        command.arg("--json").arg(file);
    }
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    Ok(if status.success() { 0 } else { 1 })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_suite_is_carried() {
        let suite = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance");
        for folder in ["cases", "vectors"] {
            for entry in std::fs::read_dir(suite.join(folder)).expect("the suite lies beside the crates") {
                let name = format!("{folder}/{}", entry.expect("an entry").file_name().to_string_lossy());
                assert!(super::SUITE.iter().any(|(path, _)| *path == name), "{name} is not carried");
            }
        }
    }
}
