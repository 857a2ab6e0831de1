//! Compiled workflows, by template row.

use std::sync::Arc;

use crate::sync::RwLock;
use rustc_hash::FxHashMap;
use tasker_core::graph::Workflow;
use tasker_core::load;
use tasker_wire::{Error, Kind};

/// Compiles the source of a template that was accepted before.
pub fn compile(source: &str, path: &str, environment: Option<&str>) -> Result<Workflow, Error> {
    load::load(source, path, &load::Options { environment, strict: false })
        .map(|loaded| Workflow::new(loaded.template))
        .map_err(|e| {
            Error::new(Kind::Unprocessable, "invalid_template", e.to_string()).hint("run `tasker template validate`")
        })
}

/// A cache that never forgets: template rows are never changed and few.
#[derive(Debug, Default)]
pub struct Workflows {
    // Read on every operation, written once a template.
    compiled: RwLock<FxHashMap<i64, Arc<Workflow>>>,
}

impl Workflows {
    /// The workflow of a template row that was compiled before.
    pub(crate) fn cached(&self, template: i64) -> Option<Arc<Workflow>> {
        self.compiled.read().get(&template).cloned()
    }

    /// The workflow of a template row, compiled by `load` (source, path, environment) at first use.
    pub fn get(
        &self,
        template: i64,
        load: impl FnOnce() -> Result<(String, String, Option<String>), Error>,
    ) -> Result<Arc<Workflow>, Error> {
        if let Some(found) = self.cached(template) {
            return Ok(found);
        }
        let (source, path, environment) = load()?;
        let workflow = Arc::new(compile(&source, &path, environment.as_deref())?);
        Ok(self.compiled.write().entry(template).or_insert(workflow).clone())
    }
}
