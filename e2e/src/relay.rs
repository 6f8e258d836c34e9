//! Runs one after the other, with the next one's set-up beside the judging of the one before. Knows nothing of
//! clusters.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How runs are made.
pub trait Runs {
    /// What a run is made from.
    type Plan: Clone + PartialEq;
    /// A run that is being set up before its turn.
    type Ahead;
    /// A run of which nothing more is measured.
    type Measured;
    /// A run that is judged.
    type Ended;
    /// Why there was none.
    type Error;

    /// Makes a run, from its set-up on.
    ///
    /// # Errors
    /// When nothing could be run.
    fn make(&self, plan: &Self::Plan) -> Result<Self::Measured, Self::Error>;

    /// The plan whose set-up may begin beside the judging of this run.
    fn next(&self, plan: &Self::Plan, measured: &Self::Measured) -> Option<Self::Plan>;

    /// Begins to set up a run and does not wait for it.
    fn begin(&self, plan: &Self::Plan) -> Option<Self::Ahead>;

    /// The turn of a run that was begun has come.
    ///
    /// # Errors
    /// When nothing could be run, its set-up included.
    fn go_on(&self, ahead: Self::Ahead) -> Result<Self::Measured, Self::Error>;

    /// It does not come: nothing of the run is left when this returns.
    fn give_up(&self, ahead: Self::Ahead);

    /// Saves and judges a run.
    ///
    /// # Errors
    /// When it cannot be saved.
    fn judge(&self, measured: Self::Measured) -> Result<Self::Ended, Self::Error>;
}

/// Runs, and the one that is ahead.
#[derive(Debug)]
pub struct Relay<R: Runs> {
    runs: R,
    ahead: Mutex<Option<(R::Plan, R::Ahead)>>,
}

impl<R: Runs> Relay<R> {
    /// Nothing is ahead.
    pub fn new(runs: R) -> Self {
        Self {
            runs,
            ahead: Mutex::new(None),
        }
    }

    /// How they are made.
    pub fn runs(&self) -> &R {
        &self.runs
    }

    /// One run of a plan; the next one's set-up has begun when it returns, if there is a next.
    ///
    /// # Errors
    /// When there was no run, or it could not be saved. What goes wrong ahead is told by the run whose set-up it was.
    pub fn run(&self, plan: &R::Plan) -> Result<R::Ended, R::Error> {
        let ahead = self.ahead().take();
        let measured = match ahead {
            Some((of, ahead)) if of == *plan => self.runs.go_on(ahead),
            Some((_, another)) => {
                self.runs.give_up(another);
                self.runs.make(plan)
            }
            None => self.runs.make(plan),
        }?;
        if let Some(next) = self.runs.next(plan, &measured) {
            let begun = self.runs.begin(&next);
            *self.ahead() = begun.map(|begun| (next, begun));
        }
        self.runs.judge(measured)
    }

    /// Gives up what is ahead. To be called before the same plan is run again, and before the process ends.
    pub fn give_up(&self) {
        let ahead = self.ahead().take();
        if let Some((_, ahead)) = ahead {
            self.runs.give_up(ahead);
        }
    }

    fn ahead(&self) -> MutexGuard<'_, Option<(R::Plan, R::Ahead)>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Says what is done; plans are letters, in their order; runs of some cannot be made.
    #[derive(Default)]
    struct Told {
        said: RefCell<Vec<String>>,
        last: char,
        broken: &'static str,
        panics: &'static str,
    }

    impl Told {
        fn of(last: char) -> Self {
            Self {
                last,
                ..Self::default()
            }
        }

        fn say(&self, what: &str, plan: char) {
            self.said.borrow_mut().push(format!("{what} {plan}"));
        }

        fn measured(&self, plan: char) -> Result<char, char> {
            if self.broken.contains(plan) {
                Err(plan)
            } else {
                Ok(plan)
            }
        }
    }

    impl Runs for Told {
        type Plan = char;
        type Ahead = char;
        type Measured = char;
        type Ended = char;
        type Error = char;

        fn make(&self, plan: &char) -> Result<char, char> {
            self.say("make", *plan);
            self.measured(*plan)
        }

        fn next(&self, plan: &char, _: &char) -> Option<char> {
            (*plan < self.last).then(|| char::from(*plan as u8 + 1))
        }

        fn begin(&self, plan: &char) -> Option<char> {
            self.say("begin", *plan);
            Some(*plan)
        }

        fn go_on(&self, ahead: char) -> Result<char, char> {
            self.say("continue", ahead);
            self.measured(ahead)
        }

        fn give_up(&self, ahead: char) {
            self.say("give up", ahead);
        }

        fn judge(&self, measured: char) -> Result<char, char> {
            self.say("judge", measured);
            assert!(!self.panics.contains(measured), "a check failed");
            Ok(measured)
        }
    }

    fn said(relay: &Relay<Told>) -> String {
        relay.runs().said.borrow().join(", ")
    }

    #[test]
    fn the_next_is_begun_before_a_run_is_judged_and_goes_on_in_its_turn() {
        let relay = Relay::new(Told::of('c'));
        for plan in ['a', 'b', 'c'] {
            assert_eq!(relay.run(&plan), Ok(plan));
        }
        assert_eq!(
            said(&relay),
            "make a, begin b, judge a, continue b, begin c, judge b, continue c, judge c"
        );
    }

    #[test]
    fn a_run_that_is_made_again_is_alone() {
        let relay = Relay::new(Told::of('b'));
        assert_eq!(relay.run(&'a'), Ok('a'));
        relay.give_up();
        assert_eq!(relay.run(&'a'), Ok('a'));
        assert_eq!(relay.run(&'b'), Ok('b'));
        assert_eq!(
            said(&relay),
            "make a, begin b, judge a, give up b, make a, begin b, judge a, continue b, judge b"
        );
        relay.give_up();
        assert!(said(&relay).ends_with("judge b"), "nothing is ahead");
    }

    #[test]
    fn what_fails_ahead_is_the_failure_of_its_own_trial() {
        let relay = Relay::new(Told {
            broken: "b",
            ..Told::of('c')
        });
        assert_eq!(relay.run(&'a'), Ok('a'));
        assert_eq!(relay.run(&'b'), Err('b'));
        assert_eq!(relay.run(&'c'), Ok('c'));
        assert_eq!(
            said(&relay),
            "make a, begin b, judge a, continue b, make c, judge c"
        );
    }

    #[test]
    fn another_trial_than_the_expected_one_gets_a_run_of_its_own() {
        let relay = Relay::new(Told::of('c'));
        assert_eq!(relay.run(&'a'), Ok('a'));
        assert_eq!(relay.run(&'c'), Ok('c'));
        assert_eq!(
            said(&relay),
            "make a, begin b, judge a, give up b, make c, judge c"
        );
    }

    #[test]
    fn a_panic_of_a_check_takes_nothing_from_the_next_trial() {
        let relay = Relay::new(Told {
            panics: "a",
            ..Told::of('b')
        });
        let run = std::panic::AssertUnwindSafe(|| relay.run(&'a'));
        assert!(std::panic::catch_unwind(run).is_err());
        assert_eq!(relay.run(&'b'), Ok('b'));
        assert!(said(&relay).ends_with("continue b, judge b"));
    }
}
