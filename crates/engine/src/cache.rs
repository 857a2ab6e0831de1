//! What the steps of live tasks share, kept so that a chain of steps reads nothing back.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tasker_store::TaskInfo;
use tasker_store::sync::Mutex;

/// Results kept, bytes; when they grow beyond, all are dropped and read from the store again when asked for.
const RESULT_BYTES_MAX: usize = 64 << 20;
/// Tasks in one generation. When the younger is full it becomes the older, and what nobody asked for since the last time
/// is dropped: never a task that a commit under way knows of.
const GENERATION_MAX: usize = 50_000;

#[derive(Default)]
struct Entry {
    info: Option<Arc<TaskInfo>>,
    results: FxHashMap<u16, Arc<str>>,
}

impl Entry {
    fn result_bytes(&self) -> usize {
        self.results.values().map(|r| r.len()).sum()
    }
}

#[derive(Default)]
struct Entries {
    young: FxHashMap<i64, Entry>,
    old: FxHashMap<i64, Entry>,
    result_bytes: usize,
}

impl Entries {
    /// The entry of a task, which is young again by this.
    fn get(&mut self, task: i64) -> Option<&mut Entry> {
        if let Some(entry) = self.old.remove(&task) {
            self.make_room();
            self.young.insert(task, entry);
        }
        self.young.get_mut(&task)
    }

    fn get_or_insert(&mut self, task: i64) -> &mut Entry {
        if self.get(task).is_none() {
            self.make_room();
        }
        self.young.entry(task).or_default()
    }

    fn make_room(&mut self) {
        if self.young.len() >= GENERATION_MAX {
            let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            let bytes: usize = dropped.values().map(Entry::result_bytes).sum();
            self.result_bytes = self.result_bytes.saturating_sub(bytes);
        }
    }
}

/// Tasks and results by task number.
#[derive(Default)]
pub(crate) struct Cache {
    // Touched a few times a step, for a map look-up each; a plain lock is the cheapest.
    entries: Mutex<Entries>,
}

impl Cache {
    pub(crate) fn knows(&self, task: i64) -> bool {
        self.entries.lock().get(task).is_some_and(|e| e.info.is_some())
    }

    pub(crate) fn info(&self, task: i64) -> Option<Arc<TaskInfo>> {
        self.entries.lock().get(task).and_then(|e| e.info.clone())
    }

    pub(crate) fn keep_info(&self, info: Arc<TaskInfo>) {
        let task = info.id;
        self.entries.lock().get_or_insert(task).info = Some(info);
    }

    /// Whether the result of a step can create steps; true of a task that is not known.
    pub(crate) fn is_expander(&self, task: i64, no: u16) -> bool {
        self.info(task).is_none_or(|info| {
            let graph = &info.workflow.graph;
            usize::from(no) < graph.len() && graph.is_expander(no)
        })
    }

    pub(crate) fn result(&self, task: i64, no: u16) -> Option<Arc<str>> {
        self.entries.lock().get(task)?.results.get(&no).cloned()
    }

    pub(crate) fn keep_result(&self, task: i64, no: u16, result: Arc<str>) {
        let mut entries = self.entries.lock();
        entries.result_bytes += result.len();
        if entries.result_bytes > RESULT_BYTES_MAX {
            let Entries { young, old, .. } = &mut *entries;
            young.values_mut().chain(old.values_mut()).for_each(|e| e.results = FxHashMap::default());
            entries.result_bytes = result.len();
        }
        entries.get_or_insert(task).results.insert(no, result);
    }

    /// Drops the results of a task of which some may have been computed anew.
    pub(crate) fn void_results(&self, task: i64) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(task) {
            let bytes = entry.result_bytes();
            entry.results = FxHashMap::default();
            entries.result_bytes = entries.result_bytes.saturating_sub(bytes);
        }
    }

    pub(crate) fn forget(&self, task: i64) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.young.remove(&task).or_else(|| entries.old.remove(&task)) {
            entries.result_bytes = entries.result_bytes.saturating_sub(entry.result_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_was_asked_for_outlives_a_hundred_thousand_others() {
        let cache = Cache::default();
        let yaml = "name: t\nsteps: [{name: a, handler: h}]";
        let workflow = Arc::new(tasker_store::compile(yaml, "t.yaml", None).expect("a template"));
        let keep = |id| {
            let info = TaskInfo {
                id,
                uuid: uuid::Uuid::nil(),
                template: 1,
                workflow: workflow.clone(),
                context: "{}".into(),
                details: "{}".into(),
                priority: 0,
                created_at: 0,
            };
            cache.keep_info(Arc::new(info));
        };
        for id in 0..=100_000 {
            keep(id);
            if id == 60_000 {
                assert!(cache.knows(7), "a commit is told so, and its claim comes without the task");
            }
        }
        assert!(cache.info(7).is_some());
        assert!(cache.info(8).is_none(), "nobody asked for this one");
    }

    #[test]
    fn what_a_commit_knows_of_outlives_the_tasks_it_brings() {
        let cache = Cache::default();
        let put = |task| cache.keep_result(task, 0, "1".into());
        let is_there = |task| cache.result(task, 0).is_some();
        for task in 0..GENERATION_MAX as i64 {
            put(task);
        }
        put(-1);
        assert!(is_there(7), "asked for, and young again");
        for task in 0..GENERATION_MAX as i64 {
            put(1_000_000 + task);
        }
        assert!(is_there(7), "it has lived through a change of generations");
        assert!(!is_there(8), "nobody asked for this one");
        let kept = cache.entries.lock();
        assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION_MAX);
        let bytes: usize = kept.young.values().chain(kept.old.values()).map(Entry::result_bytes).sum();
        assert_eq!(kept.result_bytes, bytes);
    }
}
