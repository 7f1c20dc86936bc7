//! Where a live stream goes: the address that an operator wrote, and the key.
//!
//! In: texts. Out: a [`Destination`], or a typed error that repeats nothing of what was written, because keys are easily pasted into the wrong place. Pure.

use std::fmt;
use std::net::IpAddr;

use recorder_core::secret::Secret;
use url::{Host, Url};

use super::protocol::Place;

/// How RTMP is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Plain,
    /// TLS.
    Tls,
}

/// A live destination. `Debug` and `Display` show no key, and no query of the address.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    transport: Transport,
    host: String,
    port: u16,
    /// With the query, if the address has one.
    app: String,
    key: Secret,
}

/// Why an address and a key are no live destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DestinationError {
    /// Not a URL at all.
    #[error("the live address is not a URL")]
    Syntax,
    /// Another scheme.
    #[error("the live address must begin with rtmp:// or rtmps://")]
    Scheme,
    /// No server in it.
    #[error("the live address names no server")]
    NoHost,
    /// No application in it.
    #[error("the live address names no application: it must look like rtmp://host/app")]
    NoApplication,
    /// A user name or password in it.
    #[error(
        "the live address must not contain a user name or password; what the server wants of this kind belongs into the stream key"
    )]
    Credentials,
    /// No key.
    #[error("the stream key is empty")]
    NoKey,
    /// A key that cannot be sent.
    #[error("the stream key is too long, or contains spaces or control characters")]
    OddKey,
}

impl Destination {
    /// The stream `key` at `address`, which looks like `rtmp://host[:port]/app`. Queries that a server wants after its stream name
    /// (`name?user=…&pass=…`) are part of the key.
    ///
    /// # Errors
    /// See [`DestinationError`].
    pub fn new(address: &str, key: Secret) -> Result<Self, DestinationError> {
        let url = Url::parse(address.trim()).map_err(|_| DestinationError::Syntax)?;
        let (transport, standard_port) = match url.scheme() {
            "rtmp" => (Transport::Plain, 1935),
            "rtmps" => (Transport::Tls, 443),
            _ => return Err(DestinationError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(DestinationError::Credentials);
        }
        let host = match url.host() {
            // Of schemes that it does not know, the library leaves IPv4 addresses as they are.
            Some(Host::Domain(name)) if !name.is_empty() => name.to_ascii_lowercase(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(DestinationError::NoHost),
        };
        let path = url.path().trim_matches('/');
        if path.is_empty() {
            return Err(DestinationError::NoApplication);
        }
        let app = url.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let text = key.expose();
        if text.is_empty() {
            return Err(DestinationError::NoKey);
        }
        if text.len() > 2048 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(DestinationError::OddKey);
        }
        Ok(Self { transport, host, port: url.port().unwrap_or(standard_port), app, key })
    }

    /// The stream at `location`, an address with the stream key at its end, as conference systems give it: everything behind the last slash of the path
    /// is the key, with whatever query and fragment it has.
    ///
    /// # Errors
    /// See [`DestinationError`].
    pub fn at(location: &Secret) -> Result<Self, DestinationError> {
        let (address, key) = Self::split(location)?;
        Self::new(&address, key)
    }

    /// The two halves of such an address; neither is checked.
    ///
    /// # Errors
    /// There are not two.
    pub fn split(location: &Secret) -> Result<(String, Secret), DestinationError> {
        let text = location.expose().trim();
        // A key may hold slashes behind its question mark, and an address none of these signs before its last slash.
        let path_end = text.find(['?', '#']).unwrap_or(text.len());
        let slash = text[..path_end].rfind('/').ok_or(DestinationError::Syntax)?;
        let (address, key) = (&text[..slash], &text[slash + 1..]);
        if !address.contains("://") {
            // The last slash was one of the scheme's: there is a server, and nothing behind it.
            return Err(if text.contains("://") { DestinationError::NoApplication } else { DestinationError::Syntax });
        }
        Ok((address.to_owned(), Secret::new(key)))
    }

    /// How it is carried.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Name or address of the server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether both are the same stream of the same server, which only one Target may use at a time.
    pub fn is_same_stream(&self, other: &Self) -> bool {
        // Plain or encrypted, by whatever port: the server sees one stream.
        let name = |of: &Self| of.key.expose().split('?').next().map(str::to_owned);
        self.host == other.host && self.app == other.app && name(self) == name(other)
    }

    /// A sum of what [`Destination::is_same_stream`] compares, keyed with a secret: 64 hexadecimal digits that say nothing of the key.
    pub fn fingerprint(&self, secret: &[u8]) -> String {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let name = self.key.expose().split('?').next().unwrap_or_default();
        let sum = aws_lc_rs::hmac::sign(&key, format!("{}\0{}\0{name}", self.host, self.app).as_bytes());
        sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn place(&self) -> Place {
        Place { app: self.app.clone(), tc_url: format!("{}/{}", self.server(), self.app), key: self.key.clone() }
    }

    fn server(&self) -> String {
        let (scheme, standard_port) = match self.transport {
            Transport::Plain => ("rtmp", 1935),
            Transport::Tls => ("rtmps", 443),
        };
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        if self.port == standard_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", self.port) }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let app = self.app.split('?').next().unwrap_or_default();
        write!(f, "{}/{app}", self.server())
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(address: &str) -> Result<Destination, DestinationError> {
        Destination::new(address, Secret::new("canary-key?user=u&pass=canary-pass"))
    }

    #[test]
    fn addresses_are_taken_apart() {
        let cases = [
            ("rtmp://live.example.org/app", "live.example.org", 1935, "app", "rtmp://live.example.org/app"),
            ("rtmps://Live.example.org:443/live2/", "live.example.org", 443, "live2", "rtmps://live.example.org/live2"),
            ("rtmps://127.0.0.1:1936/a/b", "127.0.0.1", 1936, "a/b", "rtmps://127.0.0.1:1936/a/b"),
            ("rtmp://[::1]:1935/x", "::1", 1935, "x", "rtmp://[::1]/x"),
            (
                "rtmp://b.example.org/live2?backup=1",
                "b.example.org",
                1935,
                "live2?backup=1",
                "rtmp://b.example.org/live2?backup=1",
            ),
        ];
        for (address, host, port, app, tc_url) in cases {
            let destination = destination(address).unwrap();
            assert_eq!((destination.host(), destination.port(), destination.app.as_str()), (host, port, app), "{address}");
            assert_eq!(destination.place().tc_url, tc_url);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_without_repeating_it() {
        let cases = [
            ("canary", DestinationError::Syntax),
            ("https://canary.example.org/app", DestinationError::Scheme),
            ("rtmp://", DestinationError::NoHost),
            ("rtmp://canary.example.org", DestinationError::NoApplication),
            ("rtmp://canary.example.org/", DestinationError::NoApplication),
            ("rtmp://u:canary@example.org/app", DestinationError::Credentials),
        ];
        for (address, expected) in cases {
            let error = destination(address).unwrap_err();
            assert_eq!(error, expected, "{address}");
            assert!(!error.to_string().contains("canary"));
        }
        let with_key = |key: &str| Destination::new("rtmp://example.org/app", Secret::new(key)).unwrap_err();
        assert_eq!(with_key(""), DestinationError::NoKey);
        assert_eq!(with_key("two words"), DestinationError::OddKey);
        assert_eq!(with_key("line\n"), DestinationError::OddKey);
        assert_eq!(with_key(&"k".repeat(2049)), DestinationError::OddKey);
    }

    #[test]
    fn what_a_conference_gives_is_address_and_key_in_one() {
        let at = |location: &str| Destination::at(&Secret::new(location));
        let cases = [
            ("rtmp://h/live/k", "rtmp://h/live", "k"),
            ("rtmps://h:443/app/abcd-efgh", "rtmps://h/app", "abcd-efgh"),
            (" rtmp://h/live/key?auth=1&x=/2 ", "rtmp://h/live", "key?auth=1&x=/2"),
            ("rtmp://h/live/key#frag/ment", "rtmp://h/live", "key#frag/ment"),
            ("rtmp://h/a/b/a%20b%20%C3%BC", "rtmp://h/a/b", "a%20b%20%C3%BC"),
            ("rtmp://h/live/'quoted\"", "rtmp://h/live", "'quoted\""),
        ];
        for (location, address, key) in cases {
            let destination = at(location).unwrap();
            assert_eq!((destination.to_string().as_str(), destination.key.expose()), (address, key), "{location}");
        }
        let cases = [
            // What becomes of a key that is an absolute path, or looks like an address.
            ("rtmp://h/canary", DestinationError::NoApplication),
            ("canary:efgh", DestinationError::Syntax),
            ("srt://h:9000/live/canary", DestinationError::Scheme),
            ("https://h/live/canary", DestinationError::Scheme),
            ("rtmp://h/live/", DestinationError::NoKey),
            ("rtmp://canary", DestinationError::NoApplication),
            ("", DestinationError::Syntax),
            ("rtmp://h/live/two canaries", DestinationError::OddKey),
        ];
        for (location, expected) in cases {
            let error = at(location).unwrap_err();
            assert_eq!(error, expected, "{location}");
            assert!(!error.to_string().contains("canar"));
        }
    }

    #[test]
    fn neither_key_nor_query_is_shown() {
        let destination = destination("rtmp://example.org/app?token=canary-query").unwrap();
        assert_eq!(destination.to_string(), "rtmp://example.org/app");
        for shown in [format!("{destination:?}"), destination.to_string(), format!("{:?}", destination.place().key)] {
            assert!(!shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn one_stream_is_known_in_two_forms() {
        let of = |address, key: &str| Destination::new(address, Secret::new(key)).unwrap();
        let one = of("rtmp://example.org/app", "k");
        assert!(one.is_same_stream(&of("rtmps://example.org/app", "k?user=a")));
        assert!(!one.is_same_stream(&of("rtmp://example.org/app", "k2")));
        assert!(!one.is_same_stream(&of("rtmp://example.org/other", "k")));
    }
}
