//! Decides who sent a request: the peer, or whom a trusted proxy names.
//!
//! In the flow: `routes` → **`client`** → `admission`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What a rate limit counts by: an IPv4 address, or the /64 that an IPv6
/// address lies in, since one subscriber owns all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// The whole address.
    V4(u32),
    /// The upper half.
    V6(u64),
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                Self::V6(u64::try_from(address.to_bits() >> 64).expect("64 bits are left"))
            }
        }
    }
}

/// Addresses that share a prefix: `10.0.0.0/8`, `::1`, `192.0.2.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// IPv4 addresses as `::ffff:a.b.c.d`.
    prefix: u128,
    bits: u32,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address or ADDRESS/BITS, for example 10.0.0.0/8 or fd00::/8")]
pub struct NoNetwork;

impl Network {
    /// Whether the address lies in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        (wide(address) ^ self.prefix) & mask(self.bits) == 0
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let length: u32 = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = match bits {
            Some(bits) => bits.parse().map_err(|_| NoNetwork)?,
            None => length,
        };
        if bits > length {
            return Err(NoNetwork);
        }
        let bits = bits + 128 - length;
        Ok(Self {
            prefix: wide(address) & mask(bits),
            bits,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.prefix);
        match address.to_ipv4_mapped() {
            Some(address) if self.bits >= 96 => write!(f, "{address}/{}", self.bits - 96),
            _ => write!(f, "{address}/{}", self.bits),
        }
    }
}

/// The client behind `peer`: as long as the last hop known is a trusted proxy,
/// the right-most `X-Forwarded-For` entry not looked at yet is the hop before
/// it. What stands left of the first untrusted hop is that hop's own claim and
/// is not believed. `forwarded` are the header's values in the order received.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[Network],
) -> IpAddr {
    let mut known = peer.to_canonical();
    let mut hops = forwarded.rev().flat_map(|value| value.rsplit(','));
    while trusted.iter().any(|network| network.contains(known)) {
        match hops.next().and_then(hop_address) {
            Some(address) => known = address.to_canonical(),
            None => break,
        }
    }
    known
}

/// An entry of `X-Forwarded-For`: an address, some proxies add the port.
fn hop_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|hop| hop.ip()))
}

fn wide(address: IpAddr) -> u128 {
    let v6 = match address {
        IpAddr::V4(address) => v4_mapped(address),
        IpAddr::V6(address) => address,
    };
    v6.to_bits()
}

fn v4_mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}

fn mask(bits: u32) -> u128 {
    u128::MAX
        .checked_shl(128 - bits.min(128))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&str], trusted: &[&str], expected: &str) {
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let found = client_address(
            peer.parse().unwrap(),
            forwarded.iter().copied(),
            trusted.as_slice(),
        );
        assert_eq!(found, expected.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_up_to_the_first_untrusted_hop() {
        check("192.0.2.1", &["198.51.100.1"], &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.1"], &["10.0.0.0/8"], "192.0.2.1");
        check(
            "10.0.0.1",
            &["198.51.100.1"],
            &["10.0.0.0/8"],
            "198.51.100.1",
        );
        check(
            "10.0.0.1",
            &["6.6.6.6, 198.51.100.1"],
            &["10.0.0.0/8"],
            "198.51.100.1",
        );
        check(
            "10.0.0.1",
            &["6.6.6.6, 198.51.100.1", "10.2.0.1"],
            &["10.0.0.0/8"],
            "198.51.100.1",
        );
        check("10.0.0.1", &["10.0.0.2"], &["10.0.0.0/8"], "10.0.0.2");
        check("10.0.0.1", &["unknown"], &["10.0.0.0/8"], "10.0.0.1");
        check("10.0.0.1", &[""], &["10.0.0.0/8"], "10.0.0.1");
        check("10.0.0.1", &[], &["0.0.0.0/0"], "10.0.0.1");
    }

    #[test]
    fn every_spelling_of_an_address_is_read() {
        check("::1", &["[2001:db8::1]:4711"], &["::1"], "2001:db8::1");
        check("::1", &["[2001:db8::1]"], &["::1"], "2001:db8::1");
        check("::1", &["192.0.2.1:80"], &["::1"], "192.0.2.1");
        check("::ffff:127.0.0.1", &["1.2.3.4"], &["127.0.0.1"], "1.2.3.4");
        check("10.0.0.1", &["::ffff:1.2.3.4"], &["10.0.0.1"], "1.2.3.4");
    }

    #[test]
    fn a_network_is_read_and_written() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "192.0.2.7/32",
            "fd00::/8",
            "::/0",
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!(
            "10.1.2.3/8".parse::<Network>(),
            "10.0.0.0/8".parse::<Network>()
        );
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "x/8"] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one_client() {
        let key = |text: &str| ClientKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
