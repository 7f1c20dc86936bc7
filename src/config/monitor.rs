//! Where the programme monitor is, and who may look.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The programme monitor of `record` and `rehearse`: a web page that shows what goes out, and how each Target stands. `serve` has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// Address and port at which the page is. When absent there is none; port 0 takes one that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"127.0.0.1:8088")]
    pub address: Option<SocketAddr>,
    /// File that holds the token which viewers must know, 16 characters or more; needed for any address but 127.0.0.1 and ::1. What is
    /// shown is encrypted, the token is not: put a proxy with TLS before a monitor that is reached over a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/monitor")]
    pub token_file: Option<PathBuf>,
}
