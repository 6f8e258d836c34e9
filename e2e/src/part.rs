//! A part of the suite, `2/6`: every sixth trial from the second on, so that every part has some of every group.

use std::str::FromStr;

/// One of so many parts, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/');
        let numbers =
            numbers.and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if 0 < number && number <= of => Ok(Self { number, of }),
            _ => Err(format!(
                "E2E_PART={text} is no part: give 1/6 to 6/6, or of another count"
            )),
        }
    }
}

impl Part {
    /// What belongs to it.
    pub fn of<T>(self, all: impl Iterator<Item = T>) -> Vec<T> {
        all.skip(self.number - 1).step_by(self.of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole_and_share_nothing() {
        let part = |number| format!("{number}/6").parse::<Part>().expect("a part");
        let mut all: Vec<u32> = (1..=6).flat_map(|number| part(number).of(0..47)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..47).collect::<Vec<_>>());
        assert_eq!(part(2).of(0..20), [1, 7, 13, 19]);
    }

    #[test]
    fn what_is_no_part_is_refused_by_name() {
        for text in ["", "0/6", "7/6", "6", "a/b", "1/0", "-1/6"] {
            let error = text.parse::<Part>().expect_err(text);
            assert!(
                error.contains(&format!("E2E_PART={text} is no part")),
                "{error}"
            );
        }
    }
}
