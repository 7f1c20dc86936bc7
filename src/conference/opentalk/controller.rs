//! Where the controller is, and whom we believe there.
//!
//! In: the operator's address, with a path prefix if it has one. Out: the addresses of its services. Pure. It refuses addresses with credentials, a
//! query or a fragment: none of them belongs there, and they would end up in places where secrets must not be.

use url::Url;

use crate::trust::Trust;

/// A controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Controller {
    base: Url,
    pub(super) trust: Trust,
}

/// Why an address is not that of a controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// Not an address, or one of another kind.
    #[error("the address of the OpenTalk controller must begin with https:// or http:// and name a host")]
    Form,
    /// More than an address.
    #[error("the address of the OpenTalk controller must not have a user, a password, a query or a fragment")]
    More,
}

impl Controller {
    /// The controller at `address`, `https://` or `http://`.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn at(address: &str, trust: Trust) -> Result<Self, AddressError> {
        let base = Url::parse(address.trim()).map_err(|_| AddressError::Form)?;
        if !matches!(base.scheme(), "https" | "http") || !base.has_host() {
            return Err(AddressError::Form);
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() || base.fragment().is_some() {
            return Err(AddressError::More);
        }
        Ok(Self { base, trust })
    }

    /// Address of one of its REST services; `path` has no slash at its beginning.
    pub(super) fn service(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// Address of its signaling.
    pub(super) fn signaling(&self) -> Url {
        self.socket("signaling")
    }

    /// Address of one of its WebSocket services; `path` has no slash at its beginning.
    pub(super) fn socket(&self, path: &str) -> Url {
        let mut url = self.service(path);
        let scheme = if self.base.scheme() == "https" { "wss" } else { "ws" };
        // Both are schemes of the same kind, so this cannot fail.
        _ = url.set_scheme(scheme);
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Result<Controller, AddressError> {
        Controller::at(address, Trust::load(None).unwrap())
    }

    #[test]
    fn services_are_found_behind_a_path_and_a_port() {
        for (address, start, signaling) in [
            ("https://c.example.org", "https://c.example.org/v1/x", "wss://c.example.org/signaling"),
            ("http://c.example.org:11311/", "http://c.example.org:11311/v1/x", "ws://c.example.org:11311/signaling"),
            (" https://e.org/controller/ ", "https://e.org/controller/v1/x", "wss://e.org/controller/signaling"),
        ] {
            let controller = at(address).unwrap();
            assert_eq!(controller.service("v1/x").as_str(), start);
            assert_eq!(controller.signaling().as_str(), signaling);
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for address in ["", "c.example.org", "wss://c.example.org", "file:///c", "c:11311", "mailto:c@example.org"] {
            assert_eq!(at(address).err(), Some(AddressError::Form), "{address}");
        }
        for address in ["https://u:p@e.org", "https://u@e.org", "https://e.org/?key=1", "https://e.org/#x"] {
            assert_eq!(at(address).err(), Some(AddressError::More), "{address}");
        }
    }
}
