//! Who we are for OpenTalk controllers: the service client at the identity provider.

use std::path::PathBuf;

use recorder_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, ConfigSecret, delivery};

/// The identity provider (Keycloak) of an OpenTalk controller, for Orders that come from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keycloak {
    /// Address of the realm, exactly as the provider calls itself: `issuer` in what it answers at `/.well-known/openid-configuration` below it. Without
    /// it no Orders are taken from a controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"https://id.example.org/realms/opentalk")]
    pub issuer: Option<String>,
    /// Where access tokens are given, when the provider is reached from here by another name than everybody else's; nothing else is asked of it then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"http://keycloak:8080/realms/opentalk/protocol/openid-connect/token")]
    pub token_endpoint: Option<String>,
    /// Our client: one with a service account that has the realm role `opentalk-recorder`. `samples/keycloak/recorder.json` imports it.
    pub client_id: String,
    /// Secret of the client. Better kept in a file of its own (`client_secret_file`) or in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"…")]
    pub client_secret: Option<ConfigSecret>,
    /// File that holds the secret of the client; white space around it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/keycloak")]
    pub client_secret_file: Option<PathBuf>,
    /// File with certificates (PEM) that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/keycloak-ca.pem")]
    pub ca_file: Option<PathBuf>,
}

impl Default for Keycloak {
    fn default() -> Self {
        Self {
            issuer: None,
            token_endpoint: None,
            client_id: "Recorder".into(),
            client_secret: None,
            client_secret_file: None,
            ca_file: None,
        }
    }
}

impl Keycloak {
    /// The secret of the client from wherever it is kept, or `None` when none is configured.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or both places are given.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        delivery::one_secret("keycloak.client_secret", self.client_secret.as_ref(), self.client_secret_file.as_deref())
    }

    /// What is wrong with one of the addresses: its field and a sentence.
    pub(super) fn bad_address(&self) -> Option<(&'static str, String)> {
        let bad = |field, address: &Option<String>| {
            let is_bad = address.as_deref().is_some_and(|address| !is_web_address(address));
            is_bad.then(|| (field, "an address of an identity provider looks like \"https://id.example.org/realms/opentalk\", without a password".into()))
        };
        bad("keycloak.issuer", &self.issuer).or_else(|| bad("keycloak.token_endpoint", &self.token_endpoint))
    }
}

/// Whether a text is an address of a web server and nothing more.
pub(super) fn is_web_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}
