//! A graph of steps as an indented tree: every step once, below the latest of its dependencies.

use std::collections::HashMap;

/// Deepest indentation; what lies deeper stays there.
const INDENT_MAX: usize = 12;
/// Dependencies named in a remark.
const NAMED_MAX: usize = 4;

/// A step to draw.
pub(crate) struct Node<'a> {
    /// Name of the template step; several batch workers share one.
    pub(crate) template: &'a str,
    /// Names of template steps.
    pub(crate) dependencies: &'a [String],
}

/// Where a step goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Which node.
    pub(crate) node: usize,
    /// What stands before it.
    pub(crate) prefix: String,
    /// What stands before further lines about it.
    pub(crate) under: String,
    /// Dependencies that the tree does not show.
    pub(crate) also_after: Vec<String>,
}

impl Row {
    /// The remark on dependencies that the tree does not show.
    pub(crate) fn remark(&self) -> String {
        let named: Vec<&str> = self.also_after.iter().take(NAMED_MAX).map(String::as_str).collect();
        match self.also_after.len() {
            0 => String::new(),
            many if many > NAMED_MAX => format!("also after {} and {} more", named.join(", "), many - NAMED_MAX),
            _ => format!("also after {}", named.join(", ")),
        }
    }
}

/// Lays the nodes out, from top to bottom.
pub(crate) fn rows(nodes: &[Node]) -> Vec<Row> {
    let mut by_template: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        by_template.entry(node.template).or_default().push(i);
    }
    // The last step of each template stands for all of them: batch workers have the same dependencies.
    let parents: Vec<Vec<usize>> = nodes
        .iter()
        .map(|n| n.dependencies.iter().filter_map(|d| by_template.get(d.as_str())?.last().copied()).collect())
        .collect();
    let depths = depths(&parents);
    let above: Vec<Option<usize>> =
        parents.iter().map(|parents| parents.iter().copied().max_by_key(|p| (depths[*p], *p))).collect();
    let mut children = vec![Vec::new(); nodes.len()];
    for (i, above) in above.iter().enumerate() {
        if let Some(above) = above {
            children[*above].push(i);
        }
    }
    let mut rows = Vec::with_capacity(nodes.len());
    let roots = (0..nodes.len()).rev().filter(|i| above[*i].is_none());
    let mut stack: Vec<(usize, String, &str, usize)> = roots.map(|i| (i, String::new(), "", 0)).collect();
    while let Some((node, base, connector, depth)) = stack.pop() {
        let below = match connector {
            "├─" if depth <= INDENT_MAX => format!("{base}│ "),
            "└─" if depth <= INDENT_MAX => format!("{base}  "),
            _ => base.clone(),
        };
        let shown = ancestors(node, &above);
        let also_after = nodes[node]
            .dependencies
            .iter()
            .filter(|d| by_template.contains_key(d.as_str()) && !shown.iter().any(|s| nodes[*s].template == **d));
        rows.push(Row {
            node,
            prefix: format!("{base}{connector}"),
            under: format!("{below}{}", if children[node].is_empty() { "  " } else { "│ " }),
            also_after: also_after.cloned().collect(),
        });
        for (i, child) in children[node].iter().enumerate().rev() {
            let connector = if i + 1 == children[node].len() { "└─" } else { "├─" };
            stack.push((*child, below.clone(), connector, depth + 1));
        }
    }
    rows
}

fn ancestors(node: usize, above: &[Option<usize>]) -> Vec<usize> {
    std::iter::successors(above[node], |n| above[*n]).take(above.len()).collect()
}

/// Length of the longest way to each node from a root.
fn depths(parents: &[Vec<usize>]) -> Vec<usize> {
    let mut children = vec![Vec::new(); parents.len()];
    let mut missing: Vec<usize> = parents.iter().map(Vec::len).collect();
    for (i, parents) in parents.iter().enumerate() {
        parents.iter().for_each(|p| children[*p].push(i));
    }
    let mut order: Vec<usize> = (0..parents.len()).filter(|i| missing[*i] == 0).collect();
    let mut depths = vec![0; parents.len()];
    let mut next = 0;
    while let Some(node) = order.get(next).copied() {
        for child in &children[node] {
            depths[*child] = depths[*child].max(depths[node] + 1);
            missing[*child] -= 1;
            if missing[*child] == 0 {
                order.push(*child);
            }
        }
        next += 1;
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(&str, &[&str])], expected: &str) {
        let dependencies: Vec<Vec<String>> =
            steps.iter().map(|(_, d)| d.iter().map(ToString::to_string).collect()).collect();
        let nodes: Vec<Node> = steps
            .iter()
            .zip(&dependencies)
            .map(|((template, _), dependencies)| Node { template, dependencies })
            .collect();
        let drawn: Vec<String> = rows(&nodes)
            .iter()
            .map(|r| format!("{}{} {}", r.prefix, nodes[r.node].template, r.remark()).trim_end().to_string())
            .collect();
        assert_eq!(drawn.join("\n"), expected);
    }

    #[test]
    fn a_chain_goes_down() {
        check(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])], "a\n└─b\n  └─c");
    }

    #[test]
    fn a_diamond_names_the_other_side() {
        check(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])], "a\n├─b\n└─c\n  └─d also after b");
    }

    #[test]
    fn steps_may_come_in_any_order() {
        check(
            &[("last", &["long"]), ("long", &["first"]), ("first", &[]), ("alone", &[])],
            "first\n└─long\n  └─last\nalone",
        );
    }

    #[test]
    fn batch_workers_stand_side_by_side() {
        check(
            &[("split", &[]), ("work", &["split"]), ("work", &["split"]), ("sum", &["work", "not_created"])],
            "split\n├─work\n└─work\n  └─sum",
        );
    }

    #[test]
    fn a_long_chain_stays_narrow() {
        let names: Vec<String> = (0..5_000).map(|i| format!("s{i}")).collect();
        let dependencies: Vec<Vec<String>> = (0..5_000_usize)
            .map(|i| i.checked_sub(1).map(|above| vec![names[above].clone()]).unwrap_or_default())
            .collect();
        let nodes: Vec<Node> =
            names.iter().zip(&dependencies).map(|(template, dependencies)| Node { template, dependencies }).collect();
        let widest = rows(&nodes).iter().map(|r| r.prefix.chars().count()).max();
        assert_eq!(widest, Some(2 * INDENT_MAX + 2));
    }
}
