//! Where the OpenTalk controller is, and how fast it is sent recordings.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keycloak::is_web_address;

/// The OpenTalk controller whose rooms are recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Controller {
    /// Address of the controller, with the path that a proxy puts before it if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"https://controller.example.org")]
    pub url: Option<String>,
    /// File with certificates (PEM) that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/controller-ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// Highest rate in Mbit/s at which each recording is uploaded to it, 1 to 10000. What it cannot store as fast it keeps in memory, so this is not to be
    /// more than its own storage takes.
    #[schemars(with = "u16")]
    pub upload_mbps: u32,
}

impl Default for Controller {
    fn default() -> Self {
        Self { url: None, ca_file: None, upload_mbps: 100 }
    }
}

impl Controller {
    /// The same in bytes a second.
    pub fn upload_rate(&self) -> u64 {
        u64::from(self.upload_mbps) * 125_000
    }

    pub(super) fn bad_url(&self) -> Option<String> {
        let is_bad = self.url.as_deref().is_some_and(|url| !is_web_address(url));
        is_bad.then(|| "an address of a controller looks like \"https://controller.example.org\", without a password".into())
    }
}
