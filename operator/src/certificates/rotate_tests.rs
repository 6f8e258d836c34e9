//! A CA is replaced by operators that die after any write, kubelets that are late, and members that restart when they
//! like: no one who could talk before is refused, and in the end the old CA opens nothing.

use super::*;

/// A few numbers without a pattern.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// What a Secret of members or applications holds: who has signed, and who is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    signer: Vec<u8>,
    bundle: Vec<u8>,
}

impl Leaf {
    fn believes(&self, signer: &[u8]) -> bool {
        contains(&self.bundle, signer)
    }
}

/// CAs of the model are lines.
fn contains(bundle: &[u8], signer: &[u8]) -> bool {
    bundle
        .split(|byte| *byte == b'\n')
        .any(|line| line == &signer[..signer.len() - 1])
}

#[derive(Clone)]
struct Member {
    mounted: Leaf,
    synced: i64,
    believes: Vec<u8>,
    template: Option<String>,
}

struct World {
    minute: i64,
    data: Data,
    annotations: BTreeMap<String, String>,
    /// Of members and of applications.
    leaves: [Leaf; 2],
    changed: i64,
    template: Option<String>,
    members: Vec<Member>,
    application: Leaf,
    made: u32,
    dice: Dice,
}

fn ca(number: u32) -> Made {
    let cert = format!("ca-{number}\n");
    Made {
        ca: cert.clone(),
        cert,
        key: format!("key-{number}"),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let first = ca(0);
        let data: Data = [(CERTIFICATE_KEY, &first.cert), (PRIVATE_KEY, &first.key)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), text(value)))
            .collect();
        let leaf = Leaf {
            signer: first.cert.into_bytes(),
            bundle: bundle(&data),
        };
        let member = Member {
            mounted: leaf.clone(),
            synced: 0,
            believes: leaf.bundle.clone(),
            template: None,
        };
        World {
            minute: 0,
            data,
            annotations: BTreeMap::new(),
            leaves: [leaf.clone(), leaf.clone()],
            changed: 0,
            template: None,
            members: vec![member; 3],
            application: leaf,
            made: 0,
            dice: Dice(seed),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(self.minute)
    }

    fn stage(&self) -> Stage {
        Stage::read(self.annotations.get(labels::CA_STEP).map(String::as_str))
    }

    /// One round of an operator that dies after `writes` of them.
    fn round(&mut self, mut writes: u64) {
        let trust = self.annotations.get(labels::CA_TRUST).cloned();
        let restarted =
            self.template == trust && self.members.iter().all(|member| member.template == trust);
        let must = |data: &Data| Leaf {
            signer: data[CERTIFICATE_KEY].0.clone(),
            bundle: bundle(data),
        };
        let settled = self.leaves.iter().all(|leaf| *leaf == must(&self.data));
        let ends = self.now() + SignedDuration::from_hours(24 * 365 * 10);
        let facts = Facts {
            stage: self.stage(),
            wanted: wanted(&self.annotations, ends, self.now()),
            settled,
            restarted,
            held: held(&self.annotations).0,
            now: self.now(),
        };
        if let Some(step) = next(&facts) {
            let made = (step == Move::Begin).then(|| {
                self.made += 1;
                ca(self.made)
            });
            let before = (&self.data, &self.annotations);
            (self.data, self.annotations) = after(step, before, made.as_ref(), self.now());
            if died(&mut writes) {
                return;
            }
        }
        for at in 0..2 {
            let must = must(&self.data);
            if self.leaves[at] != must {
                self.leaves[at] = must;
                self.changed = self.minute;
                if died(&mut writes) {
                    return;
                }
            }
        }
        self.template = trust;
    }

    fn sync(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.mounted = self.leaves[0].clone();
        member.synced = self.minute;
    }

    fn restart(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.believes = member.mounted.bundle.clone();
    }

    fn something_happens(&mut self) {
        match self.dice.roll(8) {
            0 | 1 => {
                let writes = self.dice.roll(6);
                self.round(writes);
            }
            2 => {
                let at = self.dice.roll(3) as usize;
                self.sync(at);
            }
            3 => self.application = self.leaves[1].clone(),
            4 => {
                let at = self.dice.roll(3) as usize;
                self.restart(at);
            }
            // The rollout: a pod of another template is made again, with what it mounts then.
            5 => {
                let old = |member: &Member| member.template != self.template;
                if let Some(at) = self.members.iter().position(old) {
                    self.members[at].template = self.template.clone();
                    self.restart(at);
                }
            }
            _ => {
                self.minute += 1;
                // Kubelets, and applications that read their files, are never so late.
                if self.minute - self.changed >= 4 {
                    (0..3).for_each(|at| self.sync(at));
                    self.application = self.leaves[1].clone();
                }
            }
        }
    }

    /// Both sides of every call believe who has signed the other.
    fn all_can_talk(&self) {
        for server in &self.members {
            let told = || format!("minute {}, {}", self.minute, self.stage());
            for peer in &self.members {
                assert!(
                    contains(&server.believes, &peer.mounted.signer),
                    "{}",
                    told()
                );
            }
            assert!(
                contains(&server.believes, &self.application.signer),
                "{}",
                told()
            );
            assert!(
                self.application.believes(&server.mounted.signer),
                "{}",
                told()
            );
        }
    }

    fn ask(&mut self, value: &str) {
        let asked = (labels::CA_ROTATE.to_owned(), value.to_owned());
        self.annotations.extend([asked]);
    }
}

fn died(writes: &mut u64) -> bool {
    *writes = writes.saturating_sub(1);
    *writes == 0
}

#[test]
fn any_order_of_deaths_late_kubelets_and_restarts_refuses_no_one() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.ask("monday");
        if seed % 2 == 1 {
            let minutes = (labels::CA_MINUTES.to_owned(), "5".to_owned());
            world.annotations.extend([minutes]);
        }
        let mut done = None;
        for step in 0..4000 {
            world.something_happens();
            world.all_can_talk();
            let all = |member: &Member| member.template == world.template;
            if world.stage() == Stage::Steady && world.made == 1 && world.members.iter().all(all) {
                let trust = world.annotations.get(labels::CA_TRUST);
                if world.template.as_ref() == trust {
                    done = Some(step);
                    break;
                }
            }
        }
        assert!(done.is_some(), "seed {seed}: {}", world.stage());
        for member in &world.members {
            assert!(
                !contains(&member.believes, b"ca-0\n"),
                "seed {seed}: the old one is believed"
            );
        }
        assert_eq!(world.data.len(), 2, "only the new one and its key are left");
        // Nothing more happens until it is asked again.
        let before = world.annotations.clone();
        world.round(9);
        world.round(9);
        assert_eq!(world.annotations, before);
        world.ask("tuesday");
        world.round(9);
        assert_eq!(world.stage(), Stage::Trusting(None));
    }
}

#[test]
fn a_planner_that_does_not_wait_is_found_out() {
    // The same, where certificates are of the new CA as soon as the Secrets hold both.
    let refused = (0..50).any(|seed| {
        let mut world = World::new(seed);
        world.ask("monday");
        let run = std::panic::AssertUnwindSafe(|| {
            for _ in 0..400 {
                world.something_happens();
                if let Stage::Trusting(_) = world.stage() {
                    let before = (&world.data, &world.annotations);
                    (world.data, world.annotations) =
                        after(Move::Reissue, before, None, world.now());
                }
                world.all_can_talk();
            }
        });
        std::panic::catch_unwind(run).is_err()
    });
    assert!(refused, "the model finds nothing");
}

#[test]
fn an_owner_says_how_soon_applications_read_again() {
    let of = |said: Option<&str>| {
        let said = said.map(|said| (labels::CA_MINUTES.to_owned(), said.to_owned()));
        let (held, wrong) = held(&said.into_iter().collect());
        (held.as_mins(), wrong)
    };
    assert_eq!(of(None), (120, None));
    assert_eq!(of(Some("5")), (5, None));
    assert_eq!(of(Some("1440")), (1_440, None));
    for said in ["4", "1441", "5m", "", "-5", "5.5"] {
        let (minutes, wrong) = of(Some(said));
        assert_eq!(minutes, 120, "{said}");
        let wrong = wrong.expect("what is wrong");
        assert!(
            wrong.contains("5 to 1440") && wrong.contains(&format!("{said:?}")),
            "{wrong}"
        );
    }
}

#[test]
fn a_step_waits_for_what_it_is_for() {
    let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
    let ask = |stage, settled, restarted, minute| {
        next(&Facts {
            stage,
            wanted: true,
            settled,
            restarted,
            held: HELD,
            now: at(minute),
        })
    };
    assert_eq!(ask(Stage::Steady, false, false, 0), Some(Move::Begin));
    for (stage, done, wait) in [
        (Stage::Trusting as fn(Since) -> Stage, Move::Restart, 120),
        (Stage::Reissuing, Move::Drop, 120),
        (Stage::Dropping, Move::End, 5),
    ] {
        assert_eq!(ask(stage(None), false, true, 9), None);
        assert_eq!(ask(stage(None), true, true, 9), Some(Move::Settle));
        assert_eq!(ask(stage(Some(at(9))), true, true, 8 + wait), None);
        assert_eq!(ask(stage(Some(at(9))), true, true, 9 + wait), Some(done));
        // A clock that went back.
        assert_eq!(ask(stage(Some(at(20))), true, true, 9), Some(Move::Settle));
        let read = Stage::read(Some(&stage(Some(at(9))).to_string()));
        assert_eq!(read, stage(Some(at(9))));
    }
    assert_eq!(ask(Stage::Restarting, true, false, 9), None);
    assert_eq!(ask(Stage::Restarting, true, true, 9), Some(Move::Reissue));
    assert_eq!(Stage::read(Some("what?")), Stage::Steady);
}

#[test]
fn a_ca_is_replaced_two_years_before_its_end_and_when_that_is_asked() {
    let now = Timestamp::UNIX_EPOCH;
    let in_days = |days: i64| now + SignedDuration::from_hours(24 * days);
    let none = BTreeMap::new();
    assert!(!wanted(&none, in_days(731), now));
    assert!(wanted(&none, in_days(729), now));
    let asked = |rotated: Option<&str>| {
        let mut all = BTreeMap::from([(labels::CA_ROTATE.to_owned(), "a".to_owned())]);
        all.extend(rotated.map(|value| (labels::CA_ROTATED.to_owned(), value.to_owned())));
        wanted(&all, in_days(5000), now)
    };
    assert!(asked(None) && asked(Some("b")) && !asked(Some("a")));
}

#[test]
fn a_ca_that_was_taken_out_by_hand_ends_the_replacement() {
    let world = World::new(1);
    let annotations = BTreeMap::from([(labels::CA_STEP.to_owned(), "restarting".to_owned())]);
    let before = (&world.data, &annotations);
    let (data, annotations) = after(Move::Reissue, before, None, world.now());
    assert_eq!(data, world.data);
    assert_eq!(annotations[labels::CA_STEP], "dropping");
}
