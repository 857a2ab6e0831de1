//! Checks of the steps against each other: names, dependencies, cycles and what some types of step need.

use std::collections::{HashMap, HashSet};

use super::Draft;
use super::diagnostic::shown;
use super::read::Reader;
use crate::template::{StepKind, StepTemplate};

/// Most steps of a cycle that a message names.
const CYCLE_SHOWN_MAX: usize = 20;

impl Reader<'_> {
    /// Resolves the dependencies of all steps and reports what is wrong with them.
    pub(super) fn link(&mut self, drafts: Vec<Draft>) -> Vec<StepTemplate> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(drafts.len());
        for (place, Draft { step, at, .. }) in drafts.iter().enumerate().filter(|(_, d)| !d.step.name.is_empty()) {
            if let Some(first) = places.get(step.name.as_str()).and_then(|first| drafts.get(*first)) {
                let hint = Some(format!("the first is in line {}", first.at.line));
                let message = format!("two steps are named {}", shown(&step.name));
                self.sink.error("duplicate_step", *at, message, hint);
            } else {
                places.insert(&step.name, place);
            }
        }
        let parents: Vec<Vec<usize>> = drafts.iter().map(|draft| self.parents(draft, &drafts, &places)).collect();
        for draft in &drafts {
            self.check_kind(draft, &drafts, &places);
        }
        for cycle in cycles(&parents) {
            self.report_cycle(&cycle, &drafts);
        }
        let names: Vec<Vec<String>> = parents
            .iter()
            .map(|parents| parents.iter().filter_map(|p| drafts.get(*p)).map(|d| d.step.name.clone()).collect())
            .collect();
        drafts.into_iter().zip(names).map(|(draft, dependencies)| StepTemplate { dependencies, ..draft.step }).collect()
    }

    /// The places of a step's dependencies, each once.
    fn parents(&mut self, draft: &Draft, drafts: &[Draft], places: &HashMap<&str, usize>) -> Vec<usize> {
        let own = &draft.step.name;
        let mut seen = HashSet::new();
        let mut parents = Vec::with_capacity(draft.dependencies.len());
        for (name, at) in &draft.dependencies {
            if !seen.insert(name) {
                let message = format!("{} depends on {} twice", shown(own), shown(name));
                self.sink.warning("duplicate_dependency", *at, message, None);
            } else if name == own {
                self.sink.error("self_dependency", *at, format!("{} depends on itself", shown(own)), None);
            } else if let Some(place) = places.get(name.as_str()) {
                parents.push(*place);
            } else if !name.trim().is_empty() {
                let others = drafts.iter().map(|other| other.step.name.as_str()).filter(|other| other != own);
                let hint = self.sink.did_you_mean(name, others);
                let message = format!("{} depends on {}, which is no step of this template", shown(own), shown(name));
                self.sink.error("unknown_dependency", *at, message, hint);
            }
        }
        parents
    }

    fn check_kind(&mut self, draft: &Draft, drafts: &[Draft], places: &HashMap<&str, usize>) {
        let Draft { step, kind_at, worker_template_at, .. } = draft;
        if draft.dependencies.is_empty() {
            let problem = match step.kind {
                StepKind::Decision => Some(("decision_without_dependency", "decision")),
                StepKind::DeferredConvergence => Some(("convergence_without_dependency", "convergence")),
                _ => None,
            };
            if let Some((code, what)) = problem {
                let message = format!("the {what} step {} depends on nothing", shown(&step.name));
                self.sink.error(code, *kind_at, message, Some("add `dependencies: […]`".to_owned()));
            }
        }
        if let Some(worker) = step.batch.as_ref().and_then(|batch| batch.worker_template.as_deref()) {
            let is_worker = |draft: &Draft| draft.step.kind == StepKind::BatchWorker;
            if !places.get(worker).and_then(|place| drafts.get(*place)).is_some_and(is_worker) {
                let workers = drafts.iter().filter(|draft| is_worker(draft)).map(|draft| draft.step.name.as_str());
                let hint = self.sink.did_you_mean(worker, workers);
                let message = format!("`worker_template` {} names no step of type `batch_worker`", shown(worker));
                self.sink.error("unknown_worker_template", *worker_template_at, message, hint);
            }
        }
    }

    fn report_cycle(&mut self, cycle: &[usize], drafts: &[Draft]) {
        let members: Vec<&Draft> = cycle.iter().filter_map(|place| drafts.get(*place)).collect();
        let (Some(first), Some(last)) = (members.first(), members.last()) else { return };
        let at = first.dependencies.iter().find(|(name, _)| *name == last.step.name).map_or(first.at, |(_, at)| *at);
        let mut path: Vec<String> = members.iter().take(CYCLE_SHOWN_MAX).map(|d| d.step.name.clone()).collect();
        if members.len() > CYCLE_SHOWN_MAX {
            path.push(format!("… {} more …", members.len() - CYCLE_SHOWN_MAX));
        }
        path.push(first.step.name.clone());
        let message = format!("the dependencies form a cycle: {}", path.join(" -> "));
        let hint = "each step waits for the one before the arrow".to_owned();
        self.sink.error("dependency_cycle", at, message, Some(hint));
    }
}

/// Cycles of the graph, at least one for each knot of them, in linear time. Each begins with its lowest place and
/// goes from a step to one that depends on it.
fn cycles(parents: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); parents.len()];
    for (step, above) in parents.iter().enumerate() {
        above.iter().for_each(|parent| children[*parent].push(step));
    }
    let mut waiting: Vec<usize> = parents.iter().map(Vec::len).collect();
    let mut done: Vec<usize> = (0..parents.len()).filter(|step| waiting[*step] == 0).collect();
    while let Some(step) = done.pop() {
        for child in &children[step] {
            waiting[*child] -= 1;
            if waiting[*child] == 0 {
                done.push(*child);
            }
        }
    }
    // What still waits has a parent that still waits: walking up from it must come round.
    let mut walked_in: Vec<Option<usize>> = vec![None; parents.len()];
    let mut cycles = Vec::new();
    for start in 0..parents.len() {
        let mut path = Vec::new();
        let mut at = start;
        while waiting[at] > 0 && walked_in[at].is_none() {
            walked_in[at] = Some(start);
            path.push(at);
            match parents[at].iter().find(|parent| waiting[**parent] > 0) {
                Some(parent) => at = *parent,
                None => break,
            }
        }
        if !path.is_empty() && walked_in[at] == Some(start) {
            let mut cycle: Vec<usize> = path.into_iter().skip_while(|step| *step != at).collect();
            cycle.reverse();
            let lowest = cycle.iter().enumerate().min_by_key(|(_, step)| **step).map_or(0, |(i, _)| i);
            cycle.rotate_left(lowest);
            cycles.push(cycle);
        }
    }
    cycles
}
