//! Which subnet a network takes and which address a container gets, as pure functions and values.

use crate::{address::Subnet, config::Pool};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// The first free subnet: the wished ones in order, then those the pools are cut into.
///
/// `used` are the networks that routes or addresses of the host know. A default route is not among them:
/// it would use up everything.
pub(crate) fn choose_subnet(wished: &[Subnet], pools: &[Pool], used: &[Subnet]) -> Option<Subnet> {
    let free = |subnet: &Subnet| !used.iter().any(|other| other.overlaps(*subnet));
    wished.iter().copied().find(free).or_else(|| pools.iter().flat_map(cut).find(free))
}

fn cut(pool: &Pool) -> impl Iterator<Item = Subnet> + use<> {
    let Pool { base, size } = *pool;
    let count = 1u64 << (size - base.prefix());
    let step = 1u64 << (32 - size);
    (0..count).map(move |index| {
        let address = u64::from(u32::from(base.address())) + index * step;
        let address = u32::try_from(address).expect("invariant: a part of an IPv4 range is in it");
        Subnet::containing(address.into(), size)
    })
}

/// The addresses of one subnet that are given away.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Subnet,
    /// Where addresses are given from that nobody wished for.
    range: Subnet,
    taken: BTreeSet<u32>,
    /// No address of the range below is free.
    lowest: u32,
}

/// Why an address cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Every address is taken.
    Exhausted,
    /// The wished one is taken.
    Taken,
    /// The wished one is not of the subnet, or not of a host.
    Outside,
}

impl Addresses {
    /// All of the subnet but its first and last address and those that something else has: the gateway first of all.
    pub(crate) fn new(
        subnet: Subnet,
        range: Option<Subnet>,
        used: impl IntoIterator<Item = Ipv4Addr>,
    ) -> Self {
        let range = range.unwrap_or(subnet);
        let ends = [subnet.address(), subnet.broadcast()].map(u32::from);
        let taken = used.into_iter().map(u32::from).chain(ends).collect();
        Self { subnet, range, taken, lowest: u32::from(range.address()) }
    }

    /// Takes the wished address, or the lowest free one.
    pub(crate) fn take(&mut self, wished: Option<Ipv4Addr>) -> Result<Ipv4Addr, Refusal> {
        let ends = [self.subnet.address(), self.subnet.broadcast()];
        if let Some(wished) = wished {
            let number = u32::from(wished);
            let host = self.subnet.contains(wished) && !ends.contains(&wished);
            return match (host, host && self.taken.insert(number)) {
                (false, _) => Err(Refusal::Outside),
                (true, false) => Err(Refusal::Taken),
                (true, true) => Ok(wished),
            };
        }
        let last = u32::from(self.range.broadcast());
        let free = (self.lowest..=last).find(|number| !self.taken.contains(number));
        let free = free.ok_or(Refusal::Exhausted)?;
        self.taken.insert(free);
        self.lowest = free + 1;
        Ok(free.into())
    }

    /// Gives an address back.
    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        let number = u32::from(address);
        if self.taken.remove(&number) {
            // One outside of the range is given to nobody who did not wish for it.
            self.lowest = self.lowest.min(number.max(u32::from(self.range.address())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_free_subnet_is_chosen() {
        let pools = crate::default_pools();
        assert_eq!(choose_subnet(&[], &pools, &[]), Some(subnet("172.17.0.0/16")));
        let used = [subnet("172.17.0.0/16"), subnet("172.18.4.0/24")];
        assert_eq!(choose_subnet(&[], &pools, &used), Some(subnet("172.19.0.0/16")));
        let all = [subnet("172.16.0.0/12"), subnet("192.168.0.0/20"), subnet("192.168.17.0/24")];
        assert_eq!(choose_subnet(&[], &pools, &all), Some(subnet("192.168.32.0/20")));
        assert_eq!(choose_subnet(&[], &pools, &[subnet("128.0.0.0/1")]), None);
    }

    #[test]
    fn a_wished_subnet_goes_first_when_it_is_free() {
        let pools = crate::default_pools();
        let wished = [subnet("172.20.0.0/16")];
        assert_eq!(choose_subnet(&wished, &pools, &[]), Some(wished[0]));
        assert_eq!(choose_subnet(&wished, &pools, &[subnet("172.20.1.0/24")]), Some(subnet("172.17.0.0/16")));
    }

    #[test]
    fn addresses_are_given_lowest_first_and_again_after_their_return() {
        let gateway = Ipv4Addr::new(10, 0, 0, 1);
        let mut addresses = Addresses::new(subnet("10.0.0.0/29"), None, [gateway]);
        let given: Vec<_> = std::iter::from_fn(|| addresses.take(None).ok()).collect();
        assert_eq!(given, (2..=6).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect::<Vec<_>>());
        assert_eq!(addresses.take(None), Err(Refusal::Exhausted));
        addresses.give_back(given[2]);
        addresses.give_back(given[1]);
        assert_eq!(addresses.take(None), Ok(given[1]));
        assert_eq!(addresses.take(None), Ok(given[2]));
    }

    #[test]
    fn a_wished_address_must_be_a_free_host() {
        let mut addresses = Addresses::new(subnet("10.0.0.0/29"), None, [Ipv4Addr::new(10, 0, 0, 1)]);
        let mut wish = |last| addresses.take(Some(Ipv4Addr::new(10, 0, 0, last)));
        assert_eq!(wish(5), Ok(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(wish(5), Err(Refusal::Taken));
        assert_eq!(wish(1), Err(Refusal::Taken));
        for outside in [0, 7, 8] {
            assert_eq!(wish(outside), Err(Refusal::Outside), "{outside}");
        }
    }

    #[test]
    fn a_range_bounds_what_nobody_wished_for() {
        let used = [1, 17].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let mut addresses = Addresses::new(subnet("10.0.0.0/24"), Some(subnet("10.0.0.16/30")), used);
        let given: Vec<_> = std::iter::from_fn(|| addresses.take(None).ok()).collect();
        assert_eq!(given, [16, 18, 19].map(|last| Ipv4Addr::new(10, 0, 0, last)));
        let outside = Ipv4Addr::new(10, 0, 0, 5);
        assert_eq!(addresses.take(Some(outside)), Ok(outside));
        addresses.give_back(outside);
        assert_eq!(addresses.take(None), Err(Refusal::Exhausted));
        assert_eq!(addresses.take(Some(used[1])), Err(Refusal::Taken));
        addresses.give_back(given[0]);
        assert_eq!(addresses.take(None), Ok(given[0]));
    }
}
