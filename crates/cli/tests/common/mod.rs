//! A project in a folder of its own, and the command run in it.
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a project in it; dropped with everything in it.
pub struct Place {
    pub dir: TempDir,
}

pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    pub fn error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

impl Place {
    /// A folder whose project has the given template.
    pub fn with(template: &str) -> Place {
        let place = Place::empty();
        place.write("workflows/pair.yaml", template);
        place
    }

    pub fn empty() -> Place {
        Place { dir: TempDir::new().expect("a folder") }
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// A program of the given text.
    pub fn program(&self, path: &str, text: &str) -> PathBuf {
        let path = self.write(path, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tasker"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["TASKER_URL", "TASKER_ENV", "TASKER_LOG", "TASKER_TOKEN"] {
            command.env_remove(name);
        }
        command.env("USER", "ann").env("TASKER_PYTHON", "/nowhere/python");
        command
    }

    pub fn tasker(&self, args: &[&str]) -> Said {
        let output = self.command(args).output().expect("the command runs");
        Said {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    pub fn url(&self) -> String {
        format!("sqlite://{}/.tasker/tasker.db", self.dir.path().display())
    }
}

pub fn code(said: &Said) -> (i32, String) {
    (said.code, said.error()["error"]["code"].as_str().expect("a code").to_string())
}

/// Looks until something is so; what comes of a commit in another thread has no other sign.
pub fn eventually(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "it never came to be");
        std::thread::yield_now();
    }
}
