//! `tasker new`: a small project that works.

use anyhow::{Context as _, Result};
use serde_json::json;
use tasker_wire::{Error, Kind};

use crate::args::New;
use crate::output::{self, Colour};
use crate::project::Language;
use crate::{Context, project};

type Files = &'static [(&'static str, &'static str)];

/// Files of every new project: where they go and what is in them.
const COMMON: Files = &[
    ("workflows/order.yaml", include_str!("../scaffold/workflows/order.yaml")),
    (".gitignore", include_str!("../scaffold/gitignore")),
];
const PYTHON: Files = &[
    ("handlers/order.py", include_str!("../scaffold/handlers/order.py")),
    ("tests/test_order.py", include_str!("../scaffold/tests/test_order.py")),
    ("README.md", include_str!("../scaffold/README.md")),
];
const RUBY: Files = &[
    ("handlers/order.rb", include_str!("../scaffold/handlers/order.rb")),
    ("spec/order_spec.rb", include_str!("../scaffold/spec/order_spec.rb")),
    ("README.md", include_str!("../scaffold/README.ruby.md")),
];

const RUST: Files = &[
    ("handlers/order.rs", include_str!("../scaffold/handlers/order.rs")),
    ("Cargo.toml", include_str!("../scaffold/Cargo.toml.txt")),
    ("README.md", include_str!("../scaffold/README.rust.md")),
];

/// How a project names the SDK: by the checkout this command was built in while that is there, else by version.
fn dependency() -> String {
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk");
    match std::fs::canonicalize(checkout) {
        Ok(path) => format!("{{ path = {:?} }}", path.display().to_string()),
        Err(_) => format!("{:?}", env!("CARGO_PKG_VERSION")),
    }
}

/// Writes the files into a folder that is empty or not there yet.
pub(crate) fn run(args: &New, ctx: &Context) -> Result<i32> {
    let dir = &args.dir;
    let shown = project::shown(dir);
    let refused = |why: &str| {
        Error::new(Kind::Conflict, "folder_not_empty", format!("{shown} {why}; nothing was written"))
            .hint("name a folder that is empty or not there yet")
    };
    if dir.exists() && !dir.is_dir() {
        return Err(refused("is a file").into());
    }
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(refused("is not empty").into());
    }
    let name = std::path::absolute(dir)?.file_name().map_or("project".into(), |n| n.to_string_lossy().into_owned());
    let dependency = dependency();
    let own = match args.lang {
        Language::Python => PYTHON,
        Language::Ruby => RUBY,
        Language::Rust => RUST,
    };
    let files: Vec<&(&str, &str)> = COMMON.iter().chain(own).collect();
    for (path, text) in &files {
        let path = dir.join(path);
        let parent = path.parent().context("a file of the project has no folder")?;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let text = text.replace("{{name}}", &name).replace("{{tasker-engine}}", &dependency);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let next = [format!("cd {shown}"), "tasker run order -i customer=Ada".into(), "tasker dev".into()];
    if ctx.json {
        let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        output::json(&json!({"folder": dir, "files": names, "next": next}));
        return Ok(0);
    }
    files.iter().for_each(|(path, _)| output::line(&project::shown(&dir.join(path))));
    output::note(&output::paint_err(Colour::Bold, "\nnext:"));
    next.iter().for_each(|command| output::note(&format!("  {command}")));
    Ok(0)
}
