//! Where HTTP is served: an address, or `localhost`, which is two of them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use rustix::io::Errno;
use tokio::net::TcpListener;

const LOCALHOST: &str = "localhost";

/// Where HTTP is served. Port 0 stands for a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// 127.0.0.1 and ::1, at this port.
    Localhost(u16),
    /// There alone.
    At(SocketAddr),
}

impl Address {
    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Localhost(_) => true,
            Self::At(addr) => addr.ip().is_loopback(),
        }
    }

    /// An address to ask at from this machine: one that is listened at everywhere is also here.
    pub fn here(&self) -> SocketAddr {
        let (ip, port) = match self {
            Self::Localhost(port) => (Ipv4Addr::LOCALHOST.into(), *port),
            Self::At(addr) => (addr.ip(), addr.port()),
        };
        let ip: IpAddr = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        (ip, port).into()
    }

    /// Listens there.
    pub async fn bind(&self) -> io::Result<Vec<TcpListener>> {
        match *self {
            Self::At(addr) => Ok(vec![TcpListener::bind(addr).await?]),
            Self::Localhost(port) => bind_localhost(port).await,
        }
    }
}

async fn bind_localhost(port: u16) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let same = first.local_addr()?.port();
    match TcpListener::bind((Ipv6Addr::LOCALHOST, same)).await {
        Ok(second) => Ok(vec![first, second]),
        // A machine that does not speak IPv6 has nobody who would ask there.
        Err(error) if is_without_ipv6(&error) => Ok(vec![first]),
        Err(error) => Err(error),
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.strip_prefix(LOCALHOST).and_then(|rest| rest.strip_prefix(':')?.parse().ok());
        port.map_or_else(|| text.parse().map(Self::At), |port| Ok(Self::Localhost(port)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "{LOCALHOST}:{port}"),
            Self::At(addr) => addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for (text, is_loopback, here) in [
            ("localhost:8088", true, "127.0.0.1:8088"),
            ("127.0.0.1:1", true, "127.0.0.1:1"),
            ("[::1]:1", true, "[::1]:1"),
            ("0.0.0.0:8088", false, "127.0.0.1:8088"),
            ("[::]:80", false, "[::1]:80"),
            ("10.0.0.7:1", false, "10.0.0.7:1"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (text, is_loopback));
            assert_eq!(address.here(), here.parse().unwrap(), "{text}");
        }
        for text in ["localhost", "localhost:", "localhost:x", "localhost8088", "here:1", "1.2.3.4", ""] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn localhost_is_one_port_of_both_families() {
        let listeners = Address::Localhost(0).bind().await.unwrap();
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == addrs[0].port()), "{addrs:?}");
        let taken = Address::Localhost(addrs[0].port()).bind().await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
