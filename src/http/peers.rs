//! How many connections one address has, so that nobody takes all that there are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of an IPv6 address that say whose it is. The others are its owner's to choose.
const OWNER_BITS: u32 = 64;

/// The connections of each address.
pub struct Peers {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until it is dropped.
pub struct Counted {
    peers: Arc<Peers>,
    owner: IpAddr,
}

impl Peers {
    /// At most so many connections for one address.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, counts: Mutex::default() })
    }

    /// Counts one more of this address, if it may have one.
    pub fn count(self: &Arc<Self>, ip: IpAddr) -> Option<Counted> {
        let owner = owner_of(ip);
        let mut counts = self.lock();
        let count = counts.entry(owner).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Counted { peers: self.clone(), owner })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        if let Some(count) = counts.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.owner);
            }
        }
    }
}

fn owner_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (Ipv6Addr::BITS - OWNER_BITS))).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_no_more() {
        let peers = Peers::new(2);
        let count = |ip: &str| peers.count(ip.parse().unwrap());
        let held = [count("10.0.0.1"), count("::ffff:10.0.0.1")];
        assert!(held.iter().all(Option::is_some) && count("10.0.0.1").is_none());
        assert!(count("10.0.0.2").is_some());
        drop(held);
        assert!(count("10.0.0.1").is_some() && peers.lock().is_empty());
    }

    #[test]
    fn a_network_of_one_owner_is_one_address() {
        let owner = |ip: &str| owner_of(ip.parse().unwrap());
        assert_eq!(owner("2001:db8:1:2::1"), owner("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(owner("2001:db8:1:2::1"), owner("2001:db8:1:3::1"));
    }
}
