//! What is asked of a cluster, and the state that an exploration begins with.

use super::super::tests::grown;
use super::super::world::World;
use super::{GIVEN_UP, Mishap, Planner, State};

/// What is asked of a cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) from: u32,
    pub(super) to: u32,
    /// The template to come, and how many pods an update may take at a time.
    pub(super) update: Option<(&'static str, usize)>,
    pub(super) menu: &'static [Mishap],
    pub(super) mishaps: usize,
    /// Members whose nodes are lost, and others whose nodes freeze, before anything else happens.
    pub(super) gone: (u32, u32),
    /// It begins with a backup.
    pub(super) seeded: bool,
    /// Volumes are to be larger than they are.
    pub(super) larger: bool,
    /// The storage class that is named, where claims are of none.
    pub(super) class: Option<&'static str>,
}

impl Wish {
    pub(super) const fn size(from: u32, to: u32) -> Self {
        Self {
            from,
            to,
            update: None,
            menu: &[],
            mishaps: 0,
            gone: (0, 0),
            seeded: false,
            larger: false,
            class: None,
        }
    }

    /// A cluster that begins with a backup.
    pub(super) const fn seeded(members: u32) -> Self {
        Self {
            from: 0,
            seeded: true,
            ..Self::size(members, members)
        }
    }

    pub(super) const fn update(members: u32, at_a_time: usize) -> Self {
        Self::template(members, "etcd:2", at_a_time)
    }

    pub(super) const fn template(members: u32, image: &'static str, at_a_time: usize) -> Self {
        Self {
            update: Some((image, at_a_time)),
            ..Self::size(members, members)
        }
    }

    /// A cluster that was never there, made with this template.
    pub(super) const fn first(members: u32, image: &'static str) -> Self {
        Self {
            from: 0,
            ..Self::template(members, image, 1)
        }
    }

    pub(super) const fn with(self, menu: &'static [Mishap], mishaps: usize) -> Self {
        Self {
            menu,
            mishaps,
            ..self
        }
    }

    pub(super) const fn bereft(members: u32, lost: u32, frozen: u32, mishaps: usize) -> Self {
        Self {
            gone: (lost, frozen),
            ..Self::size(members, members).with(GIVEN_UP, mishaps)
        }
    }

    pub(super) fn state(self, planner: Planner) -> State {
        let mut world = match self.from {
            0 if self.seeded => World::seeded(self.to),
            0 => World::new(self.to),
            from => grown(from),
        };
        world.scale(self.to);
        if self.larger {
            world.want_volumes(2);
        }
        if let Some(class) = self.class {
            world.want_class(class);
        }
        if let Some((image, at_a_time)) = self.update {
            world.desired.update.at_a_time = at_a_time;
            world.change_template(image);
        }
        let (lost, frozen) = self.gone;
        (0..lost).for_each(|at| world.lose_node(&format!("a-{at}")));
        (lost..lost + frozen).for_each(|at| world.freeze(&format!("a-{at}")));
        State {
            world,
            look: None,
            menu: self.menu,
            mishaps: self.mishaps,
            planner,
        }
    }
}
