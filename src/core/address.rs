//! Which addresses a stream or an upload may go to. Pure: asked for every address that a name resolves to, at every connection.
//!
//! Whoever starts a stream names the server; without this check they could reach into the operator's own network. Addresses that are not public are refused
//! unless the operator allows them, also where they are wrapped into IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an address is not public. Sources: the IANA special-purpose address registries (RFC 6890 and its updates).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// This machine: 127.0.0.0/8, ::1.
    Loopback,
    /// This link: 169.254.0.0/16, fe80::/10. Cloud metadata services live here.
    LinkLocal,
    /// Cloud metadata services outside link-local: fd00:ec2::254, 100.100.100.200, 168.63.129.16.
    Metadata,
    /// Private networks: 10/8, 172.16/12, 192.168/16; unique local fc00::/7, site local fec0::/10.
    Private,
    /// Shared by carriers: 100.64.0.0/10.
    Shared,
    /// To many: 224.0.0.0/4, ff00::/8, and broadcast.
    Multicast,
    /// No machine: 0.0.0.0/8, ::.
    Unspecified,
    /// For documentation, benchmarks, protocols, or the future.
    Reserved,
}

/// A block of addresses, written as `192.0.2.0/24` or `2001:db8::/32`, or as one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressBlock {
    base: IpAddr,
    prefix: u8,
}

/// A text is no block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an address or a block of addresses such as 192.0.2.0/24")]
pub struct AddressBlockError;

/// What the operator allows beyond public addresses.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressPolicy {
    allowed: Vec<AddressBlock>,
}

impl AddressPolicy {
    /// Public addresses, and these blocks.
    pub fn allowing(allowed: Vec<AddressBlock>) -> Self {
        Self { allowed }
    }

    /// Whether a connection to `address` is allowed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, address: IpAddr) -> Result<(), Special> {
        // The operator's word is about the address that is meant, in whatever form it comes.
        let plain = unwrapped(address);
        if self.allowed.iter().any(|block| block.contains(address) || block.contains(plain)) {
            return Ok(());
        }
        special(address).map_or(Ok(()), Err)
    }
}

impl AddressBlock {
    /// Whether `address` lies in this block. An IPv4 block holds no IPv6 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for AddressBlock {
    type Err = AddressBlockError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let base: IpAddr = address.parse().map_err(|_| AddressBlockError)?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| prefix.parse().map_err(|_| AddressBlockError))?;
        if prefix > bits { Err(AddressBlockError) } else { Ok(Self { base, prefix }) }
    }
}

impl TryFrom<String> for AddressBlock {
    type Error = AddressBlockError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AddressBlock> for String {
    fn from(block: AddressBlock) -> Self {
        block.to_string()
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// What is special about an address; `None` for a public one.
pub fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            // Such an address reaches the IPv4 host inside; that one counts.
            Some(inner) => special_v4(inner),
            None => special_v6(address),
        },
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (0, ..) => Some(Special::Unspecified),
        (127, ..) => Some(Special::Loopback),
        (169, 254, ..) => Some(Special::LinkLocal),
        (100, 100, 100, 200) | (168, 63, 129, 16) => Some(Special::Metadata),
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => Some(Special::Private),
        (100, 64..=127, ..) => Some(Special::Shared),
        (224..=239, ..) | (255, 255, 255, 255) => Some(Special::Multicast),
        (192, 0, 0, _)
        | (192, 0, 2, _)
        | (192, 88, 99, _)
        | (198, 18..=19, ..)
        | (198, 51, 100, _)
        | (203, 0, 113, _)
        | (240..=255, ..) => Some(Special::Reserved),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    let s = address.segments();
    if address.is_unspecified() {
        return Some(Special::Unspecified);
    }
    if address.is_loopback() {
        return Some(Special::Loopback);
    }
    match s[0] {
        0xfd00 if address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) => Some(Special::Metadata),
        0xfe80..=0xfebf => Some(Special::LinkLocal),
        0xfc00..=0xfdff | 0xfec0..=0xfeff => Some(Special::Private),
        0xff00..=0xffff => Some(Special::Multicast),
        // IETF protocols, Teredo and ORCHID among them; documentation.
        0x2001 if s[1] < 0x0200 || s[1] == 0x0db8 => Some(Special::Reserved),
        0x3fff if s[1] < 0x1000 => Some(Special::Reserved),
        // Global unicast; nothing else is given to anybody.
        0x2000..=0x3fff => None,
        _ => Some(Special::Reserved),
    }
}

/// The IPv4 address inside an IPv6 one: mapped and compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215), translated (RFC 2765), 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let last = Ipv4Addr::from_bits(u32::from(s[6]) << 16 | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => {
            Some(last)
        }
        // ::/96, but for :: and ::1 themselves.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(last),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
}

fn unwrapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Special> {
        special(text.parse().unwrap())
    }

    #[test]
    fn addresses_that_are_not_public_are_known_in_every_form() {
        let cases = [
            ("127.0.0.1", Special::Loopback),
            ("127.255.255.254", Special::Loopback),
            ("::1", Special::Loopback),
            ("::ffff:127.0.0.1", Special::Loopback),
            ("64:ff9b::127.0.0.1", Special::Loopback),
            ("64:ff9b:1::10.0.0.1", Special::Private),
            ("::127.0.0.1", Special::Loopback),
            ("::ffff:0:127.0.0.1", Special::Loopback),
            ("2002:7f00:1::", Special::Loopback),
            ("2002:a9fe:a9fe::1", Special::LinkLocal),
            ("169.254.169.254", Special::LinkLocal),
            ("::ffff:169.254.169.254", Special::LinkLocal),
            ("fe80::1", Special::LinkLocal),
            ("fd00:ec2::254", Special::Metadata),
            ("100.100.100.200", Special::Metadata),
            ("10.0.0.1", Special::Private),
            ("172.16.0.1", Special::Private),
            ("172.31.255.255", Special::Private),
            ("192.168.1.1", Special::Private),
            ("64:ff9b::192.168.1.1", Special::Private),
            ("fc00::1", Special::Private),
            ("fec0::1", Special::Private),
            ("100.64.0.1", Special::Shared),
            ("224.0.0.1", Special::Multicast),
            ("ff02::1", Special::Multicast),
            ("255.255.255.255", Special::Multicast),
            ("0.0.0.0", Special::Unspecified),
            ("0.1.2.3", Special::Unspecified),
            ("::", Special::Unspecified),
            ("192.0.2.1", Special::Reserved),
            ("198.18.0.1", Special::Reserved),
            ("240.0.0.1", Special::Reserved),
            ("2001:db8::1", Special::Reserved),
            ("2001::1", Special::Reserved),
            ("1::1", Special::Reserved),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), Some(expected), "{text}");
            assert_eq!(AddressPolicy::default().check(text.parse().unwrap()), Err(expected), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2a00:1450:4001::1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
        {
            assert_eq!(AddressPolicy::default().check(text.parse().unwrap()), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_operator_allows_blocks_and_nothing_beside_them() {
        let policy = AddressPolicy::allowing(vec!["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()]);
        for text in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert_eq!(policy.check(text.parse().unwrap()), Ok(()), "{text}");
        }
        for text in ["10.2.0.1", "127.0.0.1", "fe80::1", "::ffff:10.2.0.1"] {
            assert!(policy.check(text.parse().unwrap()).is_err(), "{text}");
        }
        let everything = AddressPolicy::allowing(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        assert_eq!(everything.check("127.0.0.1".parse().unwrap()), Ok(()));
        assert_eq!(everything.check("fd00:ec2::254".parse().unwrap()), Ok(()));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "host", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<AddressBlock>(), Err(AddressBlockError), "{text}");
        }
        assert_eq!("10.0.0.0/8".parse::<AddressBlock>().unwrap().to_string(), "10.0.0.0/8");
    }
}
