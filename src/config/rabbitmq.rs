//! Where start commands of an OpenTalk controller come from.

use std::path::PathBuf;

use recorder_core::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, ConfigSecret, delivery};

/// The message broker through which an OpenTalk controller gives Orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RabbitMq {
    /// Address of the broker, `amqps://` or `amqp://`, with the name of the virtual host as its path when there is one. Without it no Orders are
    /// taken from a broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"amqps://rabbitmq.example.org")]
    pub url: Option<String>,
    /// The queue that the controller writes start commands to: `recording_task_queue` in its section `[rabbit_mq]`.
    pub queue: String,
    /// User.
    pub user: String,
    /// Password of the user. Better kept in a file of its own (`password_file`) or in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"…")]
    pub password: Option<ConfigSecret>,
    /// File that holds the password; white space around it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/run/secrets/rabbitmq")]
    pub password_file: Option<PathBuf>,
    /// File with certificates (PEM) that are trusted beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"/etc/roomcast/rabbitmq-ca.pem")]
    pub ca_file: Option<PathBuf>,
}

impl Default for RabbitMq {
    fn default() -> Self {
        Self {
            url: None,
            queue: "opentalk_recorder".into(),
            user: "guest".into(),
            password: None,
            password_file: None,
            ca_file: None,
        }
    }
}

impl RabbitMq {
    /// The password from wherever it is kept, or `None` when none is configured.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or both places are given.
    pub fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        delivery::one_secret("rabbitmq.password", self.password.as_ref(), self.password_file.as_deref())
    }

    pub(super) fn bad_url(&self) -> Option<String> {
        let is_good = |text: &str| {
            url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "amqp" | "amqps")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.query().is_none()
                    && url.fragment().is_none()
                    && url.path().matches('/').count() <= 1
            })
        };
        let is_bad = self.url.as_deref().is_some_and(|text| !is_good(text));
        is_bad
            .then(|| "an address of a broker looks like \"amqps://rabbitmq.example.org/vhost\", without user and password".into())
    }

    pub(super) fn bad_queue(&self) -> Option<String> {
        (!(1..=200).contains(&self.queue.len())).then(|| "the name of a queue has 1 to 200 bytes".into())
    }
}
