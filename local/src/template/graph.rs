//! Refuses resources that wait for one another in a circle, as CloudFormation does.

use std::collections::{BTreeMap, BTreeSet};

/// Which resources each resource refers to.
pub(super) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The resources of one circle, in order, the first one again at the end.
pub(super) fn find_circle(graph: &Graph) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        let mut path: Vec<&str> = Vec::new();
        // Each entry is a step into a resource, or, as none, the step back out of one.
        let mut steps = vec![Some(start.as_str())];
        while let Some(step) = steps.pop() {
            let Some(id) = step else {
                done.extend(path.pop());
                continue;
            };
            if done.contains(id) {
                continue;
            }
            if let Some(first) = path.iter().position(|on_path| *on_path == id) {
                let circle = path[first..].iter().chain([&id]);
                return Some(circle.map(|&id| id.to_owned()).collect());
            }
            path.push(id);
            steps.push(None);
            steps.extend(
                graph
                    .get(id)
                    .into_iter()
                    .flatten()
                    .map(|next| Some(next.as_str())),
            );
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        graph
    }

    #[test]
    fn a_circle_is_found_and_named_in_order() {
        let circle = find_circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("a", "d")]));
        assert_eq!(circle, Some(["b", "c", "b"].map(str::to_owned).to_vec()));
        assert_eq!(
            find_circle(&graph(&[("a", "a")])).map(|circle| circle.len()),
            Some(2)
        );
    }

    #[test]
    fn a_diamond_is_no_circle() {
        assert_eq!(
            find_circle(&graph(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])),
            None
        );
    }

    #[test]
    fn a_long_chain_is_no_circle() {
        let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let edges: Vec<(&str, &str)> = names
            .windows(2)
            .map(|pair| (pair[0].as_str(), pair[1].as_str()))
            .collect();
        assert_eq!(find_circle(&graph(&edges)), None);
    }
}
