//! Who has a place, and who loses one. The table is pure; [`Standing`] is one connection's handle of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Limits;

/// One connection.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    trusted: bool,
    lost: Arc<Notify>,
}

/// All connections by age: a greater number is a younger one.
#[derive(Debug)]
struct Table {
    limits: Limits,
    next: u64,
    places: BTreeMap<u64, Place>,
}

impl Table {
    fn enter(&mut self, address: IpAddr) -> (u64, Arc<Notify>) {
        self.make_room(address);
        let (id, lost) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        let place = Place {
            address,
            trusted: false,
            lost: Arc::clone(&lost),
        };
        self.places.insert(id, place);
        (id, lost)
    }

    /// Closes a connection that is not trusted when `address`, or all such connections together, are at their limit.
    fn make_room(&mut self, address: IpAddr) {
        let mut held: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        let mut all = 0;
        for (id, place) in self.places.iter().filter(|(_, place)| !place.trusted) {
            all += 1;
            held.entry(place.address).or_insert((0, *id)).0 += 1;
        }
        let own = held.get(&address).copied();
        let oldest = match own {
            Some((count, oldest)) if count >= self.limits.per_address => Some(oldest),
            _ if all < self.limits.connections => None,
            _ => {
                let most = held.values().max_by_key(|(count, oldest)| {
                    // Among those with as many, who has been there longest.
                    (*count, std::cmp::Reverse(*oldest))
                });
                most.map(|(_, oldest)| *oldest)
            }
        };
        if let Some(oldest) = oldest {
            self.dismiss(oldest);
        }
    }

    fn trust(&mut self, id: u64) {
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        place.trusted = true;
        let trusted = || self.places.iter().filter(|(_, place)| place.trusted);
        if trusted().count() > self.limits.trusted {
            let oldest = trusted().map(|(id, _)| *id).find(|other| *other != id);
            if let Some(oldest) = oldest {
                self.dismiss(oldest);
            }
        }
    }

    fn dismiss(&mut self, id: u64) {
        if let Some(place) = self.places.remove(&id) {
            place.lost.notify_one();
        }
    }
}

/// Who has a place. For servers of other protocols, too.
#[derive(Clone, Debug)]
pub struct Places(Arc<Mutex<Table>>);

impl Places {
    /// None is taken yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Table {
            limits,
            next: 0,
            places: BTreeMap::new(),
        })))
    }

    /// A place for a new connection, and what tells when it is lost.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> (Standing, Arc<Notify>) {
        let (id, lost) = self.table().enter(address.to_canonical());
        let places = self.clone();
        (Standing(Arc::new(Held { id, places })), lost)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Held {
    id: u64,
    places: Places,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.table().places.remove(&self.id);
    }
}

/// A connection's place. It is among the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Held>);

impl Standing {
    /// The caller has shown the token: strangers do not take its place any more.
    pub fn trust(&self) {
        self.0.places.table().trust(self.0.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn table(connections: usize, per_address: usize, trusted: usize) -> Table {
        Table {
            limits: Limits {
                connections,
                per_address,
                trusted,
                ..Limits::default()
            },
            next: 0,
            places: BTreeMap::new(),
        }
    }

    fn left(table: &Table) -> Vec<u64> {
        table.places.keys().copied().collect()
    }

    #[test]
    fn an_address_over_its_share_loses_its_own_oldest() {
        let mut table = table(8, 2, 2);
        for last in [1, 2, 1, 1] {
            table.enter(address(last));
        }
        assert_eq!(left(&table), [1, 2, 3]);
    }

    #[test]
    fn a_full_table_takes_from_who_holds_most() {
        let mut table = table(4, 3, 2);
        for last in [2, 1, 1, 3] {
            table.enter(address(last));
        }
        table.enter(address(4));
        assert_eq!(left(&table), [0, 2, 3, 4], "the oldest of address 1 goes");
        table.enter(address(5));
        assert_eq!(left(&table), [2, 3, 4, 5], "each has one: the oldest goes");
    }

    #[test]
    fn strangers_take_no_trusted_place_and_trust_has_its_own_limit() {
        let mut table = table(2, 2, 2);
        for _ in 0..3 {
            let (id, _) = table.enter(address(9));
            table.trust(id);
        }
        assert_eq!(left(&table), [1, 2], "the oldest trusted one goes");
        for last in 0..20 {
            table.enter(address(last));
        }
        assert!(left(&table).starts_with(&[1, 2]), "{:?}", left(&table));
        assert_eq!(table.places.len(), 4);
    }

    #[test]
    fn who_is_dismissed_is_told() {
        let mut table = table(1, 1, 1);
        let (_, lost) = table.enter(address(1));
        table.enter(address(2));
        let told = Box::pin(lost.notified());
        assert!(futures_now(told), "a permit is kept");
    }

    fn futures_now(mut future: std::pin::Pin<Box<impl Future<Output = ()>>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }
}
