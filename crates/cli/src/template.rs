//! `tasker template`: check, list, draw.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use tasker_core::load::{Diagnostic, Severity};
use tasker_core::template::{StepKind, StepTemplate, Template};
use tasker_runtime::{Engine, Options, TemplateFile};
use tasker_wire::{Error, Kind, json_of};

use crate::Context;
use crate::output::{self, Colour};
use crate::project::{Checked, Project, check, shown, yaml_files};
use crate::tree::{self, Node};

/// Checks files and prints everything that is wrong.
pub(crate) fn validate(paths: &[PathBuf], strict: bool, env: Option<String>, ctx: &Context) -> Result<i32> {
    let environment = env.or_else(|| std::env::var("TASKER_ENV").ok()).filter(|e| !e.is_empty());
    let mut checked = Vec::new();
    for path in files_of(paths)? {
        let file = read(&path)?;
        checked.push(check(&file, environment.as_deref(), strict));
    }
    let schemas = schema_errors(&checked, environment)?;
    let mut errors = schemas.iter().flatten().count();
    errors += checked.iter().map(|c| c.count(Severity::Error)).sum::<usize>();
    let warnings: usize = checked.iter().map(|c| c.count(Severity::Warning)).sum();
    if ctx.json {
        let files: Vec<Value> = checked.iter().zip(&schemas).map(|(c, schema)| document(c, schema.as_ref())).collect();
        output::json(&json!({"files": files, "errors": errors, "warnings": warnings}));
    } else {
        for (checked, schema) in checked.iter().zip(&schemas) {
            checked.diagnostics.iter().for_each(|d| output::line(&format!("{}\n", painted(d))));
            schema
                .iter()
                .for_each(|error| output::line(&format!("{}: {error}\n", output::paint(Colour::Red, "error"))));
        }
        let counts = [("file", checked.len()), ("error", errors), ("warning", warnings)];
        let counts: Vec<String> = counts.map(|(what, count)| output::count(count as u64, what)).to_vec();
        output::line(&counts.join(", "));
    }
    Ok(if errors > 0 { 4 } else { 0 })
}

/// A diagnostic, its severity in colour.
fn painted(diagnostic: &Diagnostic) -> String {
    let (text, word) = (diagnostic.to_string(), diagnostic.severity.to_string());
    let colour = if diagnostic.severity == Severity::Error { Colour::Red } else { Colour::Yellow };
    text.strip_prefix(&word).map_or(text.clone(), |rest| format!("{}{rest}", output::paint(colour, &word)))
}

fn document(checked: &Checked, schema: Option<&String>) -> Value {
    let diagnostics = checked.diagnostics.iter().map(|d| {
        json!({
            "severity": d.severity.to_string(), "code": d.code, "message": d.message, "file": d.file, "line": d.line,
            "column": d.column, "excerpt": d.excerpt, "hint": d.hint,
        })
    });
    let schema = schema.map(|message| json!({"severity": "error", "code": "invalid_schema", "message": message}));
    let template = checked.template.as_ref().map(|t| {
        let steps: Vec<&str> = t.steps.iter().map(|s| s.name.as_str()).collect();
        json!({"namespace": t.namespace, "name": t.name, "version": t.version, "steps": steps})
    });
    json!({
        "file": checked.file.path,
        "ok": checked.template.is_some() && schema.is_none(),
        "template": template,
        "diagnostics": diagnostics.chain(schema).collect::<Vec<_>>(),
    })
}

/// JSON Schemas that do not compile: the engine checks those, so each file without errors is registered in a passing one.
fn schema_errors(checked: &[Checked], environment: Option<String>) -> Result<Vec<Option<String>>, Error> {
    let has_schema = |t: &Template| t.input_schema.is_some() || t.steps.iter().any(|s| s.result_schema.is_some());
    if !checked.iter().any(|c| c.template.as_ref().is_some_and(has_schema)) {
        return Ok(vec![None; checked.len()]);
    }
    let engine = Engine::open("sqlite::memory:", Options { environment, ..Options::default() })?;
    let registered = checked.iter().map(|c| {
        c.template.as_ref()?;
        engine.register_templates(std::slice::from_ref(&c.file), false).pop()?.err().map(|e| e.message)
    });
    Ok(registered.collect())
}

fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = yaml_files(path);
            if found.is_empty() {
                let message = format!("there is no .yaml or .yml file below {}", path.display());
                return Err(Error::new(Kind::NotFound, "file_not_found", message));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<TemplateFile, Error> {
    let source = std::fs::read_to_string(path)
        .map_err(|e| Error::new(Kind::NotFound, "file_not_found", format!("cannot read {}: {e}", path.display())))?;
    Ok(TemplateFile { path: shown(path), source })
}

/// Lists registered templates.
pub(crate) fn ls(tag: Option<&str>, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    let templates = engine.templates(tag)?;
    if ctx.json {
        output::json(&json!({"templates": templates.iter().map(json_of).collect::<Vec<_>>()}));
        return Ok(0);
    }
    if templates.is_empty() {
        output::note(&format!(
            "no template is registered in {}; `tasker run` and workers register theirs",
            engine.url()
        ));
        return Ok(0);
    }
    let row = |t: &tasker_wire::TemplateView| {
        vec![
            format!("{}/{}", t.namespace, t.name),
            t.version.clone(),
            t.steps.len().to_string(),
            t.path.clone(),
            t.description.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = templates.iter().map(row).collect();
    output::table(&["TEMPLATE", "VERSION", "STEPS", "FILE", "DESCRIPTION"], &rows);
    Ok(0)
}

/// Draws a template: of a file, of the project, or of the file a registered one came from.
pub(crate) fn show(name: &str, dir: &Path, ctx: &Context) -> Result<i32> {
    let (template, path) = find(name, dir, ctx)?;
    if ctx.json {
        output::json(&json!({
            "namespace": template.namespace, "name": template.name, "version": template.version,
            "description": template.description, "path": path,
            "steps": template.steps.iter().map(step_document).collect::<Vec<_>>(),
        }));
        return Ok(0);
    }
    let head = format!("{}/{} {}", template.namespace, template.name, template.version);
    output::line(&format!("{}  {path}", output::paint(Colour::Bold, &head)));
    template.description.iter().for_each(|d| output::line(d.trim_end()));
    output::line("");
    let nodes: Vec<Node> =
        template.steps.iter().map(|s| Node { template: &s.name, dependencies: &s.dependencies }).collect();
    let rows = tree::rows(&nodes);
    let names: Vec<String> = rows.iter().map(|r| format!("{}{}", r.prefix, template.steps[r.node].name)).collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let callables = template.steps.iter().map(|s| s.handler.callable.chars().count()).max().unwrap_or(0);
    for (row, name) in rows.iter().zip(&names) {
        let step = &template.steps[row.node];
        let text = format!(
            "{}  {}  {}",
            output::pad(name, width),
            output::paint(Colour::Cyan, &output::pad(&step.handler.callable, callables)),
            output::paint(Colour::Dim, &remarks(step, row.remark())),
        );
        output::line(text.trim_end());
    }
    Ok(0)
}

/// What is not as usual about a step.
fn remarks(step: &StepTemplate, also_after: String) -> String {
    let mut remarks = Vec::new();
    if step.kind != StepKind::Standard {
        remarks.push(step.kind.as_str().replace('_', " "));
    }
    remarks.extend(step.queue.iter().map(|q| format!("queue {q}")));
    if !step.retry.retryable {
        remarks.push("no retry".into());
    } else if step.retry.max_attempts != 3 {
        remarks.push(output::count(step.retry.max_attempts, "attempt"));
    }
    remarks.extend(Some(also_after).filter(|r| !r.is_empty()));
    remarks.join("; ")
}

fn step_document(step: &StepTemplate) -> Value {
    json!({
        "name": step.name, "type": step.kind.as_str(), "handler": step.handler.callable, "queue": step.queue,
        "dependencies": step.dependencies, "max_attempts": step.retry.max_attempts, "timeout_ms": step.timeout_ms,
    })
}

fn find(name: &str, dir: &Path, ctx: &Context) -> Result<(Template, String)> {
    let as_file = Path::new(name);
    if as_file.is_file() {
        return loaded(as_file);
    }
    let checked = Project::find(dir, None).load();
    let own = checked.into_iter().find_map(|c| c.template.filter(|t| t.name == name).map(|t| (t, c.file.path)));
    if let Some(found) = own {
        return Ok(found);
    }
    let registered = ctx.engine()?.templates(None)?;
    match registered.iter().rev().find(|t| t.name == name) {
        Some(view) if Path::new(&view.path).is_file() => loaded(Path::new(&view.path)),
        Some(view) => Err(Error::new(
            Kind::NotFound,
            "file_not_found",
            format!("{}/{} came from {}, which is not there", view.namespace, view.name, view.path),
        )
        .hint("name its file, or the project's folder with --dir")
        .into()),
        None => Err(unknown(name, registered.iter().map(|t| t.name.as_str())).into()),
    }
}

fn loaded(path: &Path) -> Result<(Template, String)> {
    let checked = check(&read(path)?, None, false);
    let said: Vec<String> = checked.diagnostics.iter().map(ToString::to_string).collect();
    match checked.template {
        Some(template) => Ok((template, checked.file.path)),
        None => Err(Error::new(Kind::Unprocessable, "invalid_template", said.join("\n\n")).into()),
    }
}

/// The error for a name that no template has.
pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let error = Error::new(Kind::NotFound, "template_not_found", format!("there is no template named `{name}`"));
    match tasker_core::outcome::nearest(name, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("see `tasker template ls`; name the project's folder with --dir"),
    }
}
