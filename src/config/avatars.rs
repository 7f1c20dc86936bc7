//! Which pictures of people may be fetched.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::delivery;
use crate::avatar::AvatarRules;

/// Pictures of people, for tiles without a camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Avatars {
    /// Fetch the pictures that the Conference names; otherwise people without a camera are shown by their initials. Only addresses of
    /// `https://` servers are asked, for PNG, JPEG and WebP of 2 MiB at most.
    pub fetch: bool,
    /// Ask `http://` servers, too.
    pub allow_http: bool,
    /// Addresses that may be asked although they are not public, as blocks: `["10.1.0.0/16", "::1"]`. Loopback, private, link-local and
    /// metadata addresses are refused otherwise, also when a name or a redirect leads to them.
    #[schemars(with = "Vec<String>")]
    pub allowed_addresses: Vec<String>,
    /// File with certificates (PEM) that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/avatars-ca.pem")]
    pub ca_file: Option<PathBuf>,
}

impl Default for Avatars {
    fn default() -> Self {
        Self { fetch: true, allow_http: false, allowed_addresses: Vec::new(), ca_file: None }
    }
}

impl Avatars {
    /// What a worker may do.
    pub fn rules(&self) -> AvatarRules {
        AvatarRules {
            fetch: self.fetch,
            allow_http: self.allow_http,
            policy: delivery::policy(&self.allowed_addresses),
            ca_file: self.ca_file.clone(),
        }
    }

    pub(super) fn bad_address(&self) -> Option<String> {
        delivery::bad_block(&self.allowed_addresses)
    }
}
