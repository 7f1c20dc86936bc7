//! Where the signaling endpoint of a server is.
//!
//! In: the address that an operator wrote. Out: the WebSocket address with the query of a subscriber. Pure.

use url::Url;

/// Signaling protocol that we speak: packet trailers are known (16), negotiated data channels (18) are not needed.
const PROTOCOL: &str = "16";

/// Why an address is no LiveKit server's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// Not a URL at all.
    #[error("the LiveKit address is not a URL: {0}")]
    Syntax(#[from] url::ParseError),
    /// A scheme that we do not speak.
    #[error("the LiveKit address must begin with ws://, wss://, http:// or https://")]
    Scheme,
    /// Credentials belong into the token.
    #[error("the LiveKit address must not contain a user name, password or query")]
    Extra,
}

/// Which session a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose<'a> {
    /// A new one.
    Join,
    /// The one that this participant sid has; its media goes on.
    Resume(&'a str),
}

/// The address of the signaling endpoint `/rtc` (version 0) of the server at `server`.
///
/// # Errors
/// See [`AddressError`].
pub fn endpoint(server: &str, purpose: Purpose<'_>) -> Result<Url, AddressError> {
    let mut url = Url::parse(server.trim())?;
    let scheme = match url.scheme() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return Err(AddressError::Scheme),
    };
    // Cannot fail between special schemes.
    url.set_scheme(scheme).map_err(|()| AddressError::Scheme)?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(AddressError::Extra);
    }
    let path = format!("{}/rtc", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_fragment(None);
    {
        // No `sdk`: an unknown client gets no change of codec in the middle of a stream.
        let mut query = url.query_pairs_mut();
        query.append_pair("protocol", PROTOCOL).append_pair("auto_subscribe", "0").append_pair("adaptive_stream", "0");
        query.append_pair("version", env!("CARGO_PKG_VERSION"));
        if let Purpose::Resume(sid) = purpose {
            query.append_pair("reconnect", "1").append_pair("sid", sid);
        }
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_keeps_host_and_prefix_and_never_carries_a_token() {
        let url = endpoint("https://example.org/live/", Purpose::Join).unwrap();
        assert!(url.as_str().starts_with("wss://example.org/live/rtc?protocol=16&auto_subscribe=0"), "{url}");
        let url = endpoint("ws://127.0.0.1:7880", Purpose::Resume("PA_1&x=")).unwrap();
        assert!(url.as_str().ends_with("&reconnect=1&sid=PA_1%26x%3D"), "{url}");
        assert!(!url.as_str().contains("sdk="));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert!(matches!(endpoint("room", Purpose::Join), Err(AddressError::Syntax(_))));
        assert_eq!(endpoint("ftp://x", Purpose::Join), Err(AddressError::Scheme));
        assert_eq!(endpoint("ws://a:b@x", Purpose::Join), Err(AddressError::Extra));
        assert_eq!(endpoint("ws://x/?access_token=abc", Purpose::Join), Err(AddressError::Extra));
    }
}
