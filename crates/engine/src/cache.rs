//! What the steps of live tasks share, kept so that a chain of steps reads nothing back.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tasker_store::TaskInfo;
use tasker_store::sync::Mutex;

/// Results kept, bytes; when they grow beyond, all are dropped and read from the store again when asked for.
const RESULT_BYTES_MAX: usize = 64 << 20;
/// Tasks kept; when they grow beyond, all are dropped.
const TASKS_MAX: usize = 100_000;

#[derive(Default)]
struct Entry {
    info: Option<Arc<TaskInfo>>,
    results: FxHashMap<u16, Arc<str>>,
}

#[derive(Default)]
struct Entries {
    tasks: FxHashMap<i64, Entry>,
    result_bytes: usize,
}

/// Tasks and results by task number.
#[derive(Default)]
pub(crate) struct Cache {
    // Touched a few times a step, for a map look-up each; a plain lock is the cheapest.
    entries: Mutex<Entries>,
}

impl Cache {
    pub(crate) fn knows(&self, task: i64) -> bool {
        self.entries.lock().tasks.get(&task).is_some_and(|e| e.info.is_some())
    }

    pub(crate) fn info(&self, task: i64) -> Option<Arc<TaskInfo>> {
        self.entries.lock().tasks.get(&task).and_then(|e| e.info.clone())
    }

    pub(crate) fn keep_info(&self, info: Arc<TaskInfo>) {
        let mut entries = self.entries.lock();
        if entries.tasks.len() >= TASKS_MAX {
            *entries = Entries::default();
        }
        let task = info.id;
        entries.tasks.entry(task).or_default().info = Some(info);
    }

    /// Whether the result of a step can create steps; true of a task that is not known.
    pub(crate) fn is_expander(&self, task: i64, no: u16) -> bool {
        self.info(task).is_none_or(|info| {
            let graph = &info.workflow.graph;
            usize::from(no) < graph.len() && graph.is_expander(no)
        })
    }

    pub(crate) fn result(&self, task: i64, no: u16) -> Option<Arc<str>> {
        self.entries.lock().tasks.get(&task)?.results.get(&no).cloned()
    }

    pub(crate) fn keep_result(&self, task: i64, no: u16, result: Arc<str>) {
        let mut entries = self.entries.lock();
        entries.result_bytes += result.len();
        if entries.result_bytes > RESULT_BYTES_MAX {
            entries.tasks.values_mut().for_each(|e| e.results = FxHashMap::default());
            entries.result_bytes = result.len();
        }
        entries.tasks.entry(task).or_default().results.insert(no, result);
    }

    /// Drops the results of a task of which some may have been computed anew.
    pub(crate) fn void_results(&self, task: i64) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.tasks.get_mut(&task) {
            let bytes: usize = std::mem::take(&mut entry.results).values().map(|r| r.len()).sum();
            entries.result_bytes = entries.result_bytes.saturating_sub(bytes);
        }
    }

    pub(crate) fn forget(&self, task: i64) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.tasks.remove(&task) {
            let bytes: usize = entry.results.values().map(|r| r.len()).sum();
            entries.result_bytes = entries.result_bytes.saturating_sub(bytes);
        }
    }
}
