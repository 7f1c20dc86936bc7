//! The operators' interface by HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use recorder_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::delivery::one_secret;
use super::{ConfigError, ConfigSecret};

/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// The operators' interface: health, metrics, status, and the layout of a Session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where it is found: an address of this machine with a port. `serve` always listens there; `record` and `rehearse` only with `--http ADDRESS`.
    pub listen: String,
    /// What operators prove themselves by, 16 characters at least. Without one only the health is answered. Better kept in a file of its own
    /// (`token_file`) or in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"…")]
    pub token: Option<ConfigSecret>,
    /// File that holds the token; white space around it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/operators")]
    pub token_file: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:11411".into(), token: None, token_file: None }
    }
}

impl Http {
    /// The token from wherever it is kept, or `None` when none is configured.
    ///
    /// # Errors
    /// The file cannot be read or is empty, both places are given, or the token can be guessed.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        let token = one_secret("http.token", self.token.as_ref(), self.token_file.as_deref())?;
        match &token {
            Some(token) if token.expose().chars().count() < SHORTEST_TOKEN => Err(ConfigError::ShortToken(SHORTEST_TOKEN)),
            _ => Ok(token),
        }
    }

    /// Where the interface of this machine is found, for whoever asks it from here.
    pub fn url(&self) -> String {
        let address = self.listen.parse().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(host, address.port()))
    }

    pub(super) fn bad_listen(&self) -> Option<String> {
        let is_address = self.listen.parse::<SocketAddr>().is_ok();
        (!is_address).then(|| format!("\"{}\" is not an address with a port; write it like \"127.0.0.1:11411\"", self.listen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_on_this_machine_finds_what_listens_everywhere() {
        for (listen, url) in [
            ("127.0.0.1:11411", "http://127.0.0.1:11411"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:9", "http://[::1]:9"),
            ("10.1.2.3:11411", "http://10.1.2.3:11411"),
        ] {
            assert_eq!(Http { listen: listen.into(), ..Http::default() }.url(), url);
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused_and_not_repeated() {
        let http = |token: &str| Http { token: Some(ConfigSecret(Secret::new(token))), ..Http::default() };
        let refused = http("canary").secret().unwrap_err().to_string();
        assert_eq!(refused, "http.token has fewer than 16 characters; make one with: openssl rand -hex 32");
        assert_eq!(http("canary-canary-16").secret().unwrap().unwrap().expose(), "canary-canary-16");
        assert_eq!(Http::default().secret().unwrap(), None);
    }
}
