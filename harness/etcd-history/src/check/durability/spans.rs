//! Ranges of keys, each with what was laid over it last.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Where a range begins and, if it has an end, ends.
pub(super) type Ends<'a> = (&'a str, Option<&'a str>);

/// Ranges that do not meet. Each one that is laid cuts two at most and adds two at most: n of them cost n log n.
pub(super) struct Spans<'a, T> {
    /// By their first keys.
    spans: BTreeMap<&'a str, Span<'a, T>>,
}

#[derive(Clone, Copy)]
struct Span<'a, T> {
    end: Option<&'a str>,
    laid: T,
}

impl<T> Span<'_, T> {
    /// True when it has keys from this one on.
    fn passes(&self, key: &str) -> bool {
        self.end.is_none_or(|end| end > key)
    }
}

impl<T> Default for Spans<'_, T> {
    fn default() -> Self {
        Self {
            spans: BTreeMap::new(),
        }
    }
}

impl<'a, T: Copy> Spans<'a, T> {
    /// Lays something over a range. Gives how many ranges that were there it touched.
    pub(super) fn lay(&mut self, (from, to): Ends<'a>, laid: T) -> usize {
        if to.is_some_and(|to| to <= from) {
            return 0;
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let within = self.spans.range::<str, _>((Bound::Included(from), end));
        let mut touched: Vec<&str> = within.map(|(start, _)| *start).collect();
        let before = (Bound::Unbounded, Bound::Excluded(from));
        let before = self.spans.range::<str, _>(before).next_back();
        touched.extend(
            before
                .filter(|(_, span)| span.passes(from))
                .map(|(start, _)| *start),
        );
        for start in touched.iter().copied() {
            let Some(span) = self.spans.remove(start) else {
                continue;
            };
            if start < from {
                let end = Some(from);
                self.spans.insert(start, Span { end, ..span });
            }
            if let Some(to) = to.filter(|to| span.passes(to)) {
                self.spans.insert(to, span);
            }
        }
        self.spans.insert(from, Span { end: to, laid });
        touched.len()
    }

    /// What was laid over a key last.
    pub(super) fn at(&self, key: &str) -> Option<T> {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let (_, span) = self.spans.range::<str, _>(up_to).next_back()?;
        span.passes(key).then_some(span.laid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Random;

    #[test]
    fn a_key_has_what_was_laid_over_it_last() {
        let names: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
        let mut random = Random::new(3);
        for _ in 0..200 {
            let mut spans = Spans::default();
            let mut last = vec![None; names.len()];
            for laid in 0..30 {
                let (from, to) = (random.position(names.len()), random.position(names.len()));
                let ever = random.chance(5);
                let end = (!ever).then_some(names[to].as_str());
                spans.lay((names[from].as_str(), end), laid);
                let until = if ever { names.len() } else { to };
                for known in last.iter_mut().take(until).skip(from) {
                    *known = Some(laid);
                }
                let found: Vec<_> = names.iter().map(|key| spans.at(key)).collect();
                assert_eq!(found, last);
            }
            assert_eq!(spans.at("k"), None, "before all of them");
        }
    }

    #[test]
    fn what_is_laid_again_and_again_is_touched_once_for_each() {
        let names: Vec<String> = (0..1_000).map(|n| format!("k{n:04}")).collect();
        let mut spans = Spans::default();
        let mut touched = 0;
        for pair in names.windows(2) {
            touched += spans.lay((pair[0].as_str(), Some(pair[1].as_str())), 1);
        }
        for _ in 0..1_000 {
            touched += spans.lay((names[0].as_str(), None), 2);
        }
        assert!(touched <= 3 * names.len(), "{touched}");
    }
}
