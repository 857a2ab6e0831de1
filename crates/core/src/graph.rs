//! Who depends on whom: the compiled form of a template's dependencies.

use std::collections::HashMap;

use crate::template::{StepKind, Template};

/// Index of a step in its template.
pub type Index = u16;

/// A template with its graph: all the machine needs to know of a workflow.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// The template.
    pub template: Template,
    /// Its graph.
    pub graph: Graph,
}

impl Workflow {
    /// Compiles a loaded template.
    pub fn new(template: Template) -> Workflow {
        let graph = Graph::new(&template);
        Workflow { template, graph }
    }

    /// Queue in which a step waits.
    pub fn queue(&self, step: Index) -> &str {
        self.template.steps[usize::from(step)].queue.as_deref().unwrap_or(&self.template.namespace)
    }
}

/// The dependency graph of one template. Dependencies that name no step are not in it; the loader refuses them.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Dependencies of each step.
    pub parents: Vec<Vec<Index>>,
    /// Steps that depend on each step.
    pub children: Vec<Vec<Index>>,
    /// Kind of each step.
    pub kinds: Vec<StepKind>,
    /// Every step after all its parents.
    pub topological: Vec<Index>,
    /// Whether each step descends from a decision, so that it exists only when created by one.
    pub under_decision: Vec<bool>,
    /// For each deferred convergence: decisions and batchable steps above it that are not its parents.
    pub expanders_above: Vec<Vec<Index>>,
    index: HashMap<String, Index>,
}

impl Graph {
    /// Builds the graph in time linear in steps and dependencies (plus one walk a convergence).
    pub fn new(template: &Template) -> Graph {
        let count = template.steps.len();
        let index: HashMap<String, Index> =
            template.steps.iter().enumerate().map(|(i, s)| (s.name.clone(), i as Index)).collect();
        let parents: Vec<Vec<Index>> = template
            .steps
            .iter()
            .map(|s| s.dependencies.iter().filter_map(|d| index.get(d).copied()).collect())
            .collect();
        let mut children = vec![Vec::new(); count];
        for (step, above) in parents.iter().enumerate() {
            for parent in above {
                children[usize::from(*parent)].push(step as Index);
            }
        }
        let mut waiting: Vec<usize> = parents.iter().map(Vec::len).collect();
        let mut topological: Vec<Index> = (0..count).filter(|i| waiting[*i] == 0).map(|i| i as Index).collect();
        let mut next = 0;
        while next < topological.len() {
            for child in &children[usize::from(topological[next])] {
                waiting[usize::from(*child)] -= 1;
                if waiting[usize::from(*child)] == 0 {
                    topological.push(*child);
                }
            }
            next += 1;
        }
        let kinds: Vec<StepKind> = template.steps.iter().map(|s| s.kind).collect();
        let mut under_decision = vec![false; count];
        for step in &topological {
            let step = usize::from(*step);
            under_decision[step] = parents[step]
                .iter()
                .any(|p| kinds[usize::from(*p)] == StepKind::Decision || under_decision[usize::from(*p)]);
        }
        let mut graph = Graph {
            parents,
            children,
            kinds,
            topological,
            under_decision,
            expanders_above: vec![Vec::new(); count],
            index,
        };
        for step in 0..count {
            if graph.kinds[step] == StepKind::DeferredConvergence {
                let parents = graph.parents[step].clone();
                graph.expanders_above[step] = graph
                    .ancestors(step as Index)
                    .into_iter()
                    .filter(|a| graph.is_expander(*a) && !parents.contains(a))
                    .collect();
            }
        }
        graph
    }

    /// Number of template steps.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are no steps (a loaded template has at least one).
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The index of a step by name.
    pub fn find(&self, name: &str) -> Option<Index> {
        self.index.get(name).copied()
    }

    /// Whether a step's result can create steps.
    pub fn is_expander(&self, step: Index) -> bool {
        matches!(self.kinds[usize::from(step)], StepKind::Decision | StepKind::Batchable)
    }

    /// Whether `above` is a direct or indirect dependency of `step`.
    pub fn is_ancestor(&self, above: Index, step: Index) -> bool {
        self.parents[usize::from(step)].contains(&above) || self.ancestors(step).contains(&above)
    }

    /// All direct and indirect dependencies of a step, nearest first.
    pub fn ancestors(&self, step: Index) -> Vec<Index> {
        self.reach(step, &self.parents)
    }

    /// All steps that depend, directly or not, on a step, nearest first.
    pub fn descendants(&self, step: Index) -> Vec<Index> {
        self.reach(step, &self.children)
    }

    /// How many decisions lie on the longest path that ends in `step`, itself included.
    pub fn decision_depth(&self, step: Index) -> usize {
        let mut depth = vec![0_usize; self.len()];
        for s in &self.topological {
            let s = usize::from(*s);
            let above = self.parents[s].iter().map(|p| depth[usize::from(*p)]).max().unwrap_or(0);
            depth[s] = above + usize::from(self.kinds[s] == StepKind::Decision);
        }
        depth[usize::from(step)]
    }

    fn reach(&self, step: Index, edges: &[Vec<Index>]) -> Vec<Index> {
        let mut seen = vec![false; self.len()];
        let mut found: Vec<Index> = Vec::new();
        let mut next = 0;
        let mut from = step;
        loop {
            for to in &edges[usize::from(from)] {
                if !std::mem::replace(&mut seen[usize::from(*to)], true) {
                    found.push(*to);
                }
            }
            if next == found.len() {
                return found;
            }
            from = found[next];
            next += 1;
        }
    }
}
