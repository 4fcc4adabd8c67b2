//! Which addresses are of the public internet, and which of this machine or the network that it is in.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::{Mutex, PoisonError},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Whether an address is one that everybody reaches alike.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special =
        matches!((a, b, c), (0, ..) | (100, 64..128, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..20, _) | (240.., ..));
    !(special
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || ip.is_broadcast())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        // Mapped, compatible, translated (two prefixes) and 6to4 addresses lead to the one inside.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        [0x64, 0xff9b, ..] | [0x2001, 0 | 0xdb8 | 0x10..0x40, ..] | [0x3fff, ..] | [0x5f00, ..] | [0x100, 0, 0, ..] => {
            false
        }
        // Unique local, link local and site local ones, multicast, and what nobody has.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

/// The address in the URL itself, where there is one.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether the server that answered under `url` is one of the public internet. `peer` is the other end of the connection,
/// which may be a proxy.
pub(super) fn answered_publicly(url: &Url, peer: Option<SocketAddr>) -> bool {
    if let Some(ip) = literal(url) {
        return is_public(ip);
    }
    match (url.host_str(), peer) {
        (Some(name), Some(peer)) if !is_public(peer.ip()) => {
            !(name, 0).to_socket_addrs().is_ok_and(|mut all| all.any(|found| found.ip() == peer.ip()))
        }
        _ => true,
    }
}

/// Whether all addresses of the URL's host are of this machine or the network inside.
pub(super) fn is_inside(url: &Url) -> bool {
    match (literal(url), url.host_str()) {
        (Some(ip), _) => !is_public(ip),
        (None, Some(name)) => (name, 0).to_socket_addrs().is_ok_and(|mut all| all.all(|found| !is_public(found.ip()))),
        (None, None) => false,
    }
}

/// Finds addresses of names, and for the names that it guards only public ones. Others, such as a proxy's, may be any.
#[derive(Default)]
pub(super) struct Guard(Mutex<HashSet<String>>);

impl Guard {
    pub fn add(&self, host: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned());
    }

    fn guards(&self, host: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(host)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let guarded = self.guards(&host);
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || addresses(&host, guarded)).await??;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn addresses(host: &str, public: bool) -> std::io::Result<Vec<SocketAddr>> {
    let mut found: Vec<_> = (host, 0).to_socket_addrs()?.collect();
    let any = !found.is_empty();
    found.retain(|address| !public || is_public(address.ip()));
    if any && found.is_empty() {
        return Err(std::io::Error::other(format!("{host} {INSIDE}")));
    }
    Ok(found)
}

/// Ends a message that begins with a host.
pub(super) const INSIDE: &str =
    "is an address of this machine or of the network inside, and a server outside led there";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_network_are_known_in_every_spelling() {
        for inside in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "8.8.8.8",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
            "2001:4860::1",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
        for spelling in [
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://[::ffff:7f00:1]/",
            "http://017700000001/",
        ] {
            assert!(!is_public(literal(&spelling.parse().unwrap()).unwrap()), "{spelling}");
        }
    }

    #[test]
    fn a_guarded_name_has_no_address_inside() {
        assert!(addresses("localhost", false).unwrap().iter().all(|a| a.ip().is_loopback()));
        assert!(addresses("localhost", true).unwrap_err().to_string().contains("of this machine"));
    }

    #[test]
    fn whoever_answers_from_inside_may_lead_inside() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let local = Some("127.0.0.1:80".parse().unwrap());
        assert!(!answered_publicly(&url("http://127.0.0.1/"), local));
        assert!(!answered_publicly(&url("http://localhost/"), local));
        assert!(answered_publicly(&url("http://8.8.8.8/"), local), "a proxy on this machine answered for it");
    }
}
