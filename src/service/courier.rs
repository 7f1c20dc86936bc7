//! Brings recordings to the OpenTalk controller, by the service's identity.
//!
//! In: which room's recording. Out: upload connections, as [`crate::storage::controller_upload`] wants them. Runs on the task that asks. It decides nothing
//! but to ask for another access token, once, when the controller does not believe the first.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use recorder_core::controller_upload::{End, Refusal};
use recorder_core::secret::Secret;

use crate::conference::opentalk::controller::Controller;
use crate::conference::opentalk::upload::{UploadLink, UploadOf};
use crate::identity::{self, Identity};
use crate::storage::controller_upload::{Courier, EXTENSION, Passage};

/// Brings recordings to one controller.
#[derive(Clone, Debug)]
pub struct OpenTalkCourier {
    /// Who we are.
    pub identity: Identity,
    /// Where they go.
    pub controller: Controller,
}

impl OpenTalkCourier {
    async fn opened(self, room: String, began_at: u64) -> Result<UploadLink, Refusal> {
        let token = self.identity.token().await.map_err(Refusal::NoToken)?;
        match connect(&self.controller, &token, &room, began_at).await {
            Err(Refusal::TokenRefused) => match self.identity.refused(&token).await {
                identity::Refusal::Final(fault) => Err(Refusal::NoToken(fault)),
                identity::Refusal::TryAnother => {
                    let token = self.identity.token().await.map_err(Refusal::NoToken)?;
                    connect(&self.controller, &token, &room, began_at).await
                }
            },
            answer => answer,
        }
    }
}

/// One connection, with this token.
///
/// # Errors
/// See [`Refusal`].
pub async fn connect(controller: &Controller, token: &Secret, room: &str, began_at: u64) -> Result<UploadLink, Refusal> {
    let began = i64::try_from(began_at).ok().and_then(|second| Timestamp::from_second(second).ok());
    let began = began.ok_or(Refusal::NotUnderstood)?;
    controller.open_upload(token, UploadOf { room, extension: EXTENSION, began }).await
}

impl Courier for OpenTalkCourier {
    fn open(&self, room: String, began_at: u64) -> BoxFuture<'static, Result<Box<dyn Passage>, Refusal>> {
        let this = self.clone();
        Box::pin(async move {
            let link: Box<dyn Passage> = Box::new(this.opened(room, began_at).await?);
            Ok(link)
        })
    }
}

impl Passage for UploadLink {
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), End>> {
        Box::pin(UploadLink::send(self, frame))
    }

    fn goodbye(&mut self) -> BoxFuture<'_, End> {
        Box::pin(UploadLink::goodbye(self))
    }

    fn ended(&mut self) -> BoxFuture<'_, End> {
        Box::pin(UploadLink::ended(self))
    }
}
