//! Whether Orders of an OpenTalk controller could come in: its identity provider, its message broker, and itself.
//!
//! In: the configuration. Out: settings of the parts that take Orders, and a [`Finding`] for each of them that is configured. Looking leaves nothing behind:
//! no queue, no ticket that anybody uses. Refuses to guess secrets that are not configured.

use std::path::Path;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response};
use recorder_core::identity::refused_for_good;
use recorder_core::secret::Secret;

use super::Failure;
use crate::check::Finding;
use crate::command::amqp::{BrokerSettings, look};
use crate::conference::opentalk::controller::Controller;
use crate::config::Config;
use crate::exchange::{Exchange, ExchangeError};
use crate::identity::{Provider, ProviderSettings, Token};
use crate::service::courier::connect;
use crate::trust::Trust;

/// A room that no controller has.
const NO_ROOM_ID: &str = "00000000-0000-4000-8000-000000000000";
/// A start of it.
const NO_ROOM: &str = r#"{"room_id":"00000000-0000-4000-8000-000000000000"}"#;
/// One question to the controller.
const LIMIT: Duration = Duration::from_secs(5);
/// Tokens of clients that were made by hand are meant for this one, which does not count.
const ACCOUNT: &str = "account";

/// Where access tokens come from; `None` when it is not configured.
pub(super) fn provider(config: &Config) -> Result<Option<ProviderSettings>, Failure> {
    let section = &config.keycloak;
    let Some(issuer) = section.issuer.clone() else { return Ok(None) };
    let secret = section.secret().map_err(Failure::operator)?;
    let client_secret = secret.ok_or_else(|| {
        Failure::operator(
            "keycloak.issuer needs the secret of the client: set keycloak.client_secret_file or ROOMCAST_KEYCLOAK__CLIENT_SECRET",
        )
    })?;
    let trust = trust("keycloak.ca_file", section.ca_file.as_deref())?;
    let (token_endpoint, client_id) = (section.token_endpoint.clone(), section.client_id.clone());
    Ok(Some(ProviderSettings { issuer, token_endpoint, client_id, client_secret, trust }))
}

/// Where start commands come from; `None` when it is not configured.
pub(super) fn broker(config: &Config) -> Result<Option<BrokerSettings>, Failure> {
    let section = &config.rabbitmq;
    let Some(url) = section.url.clone() else { return Ok(None) };
    let password = section.secret().map_err(Failure::operator)?;
    let password = password.ok_or_else(|| {
        Failure::operator(
            "rabbitmq.url needs the password of the user: set rabbitmq.password_file or ROOMCAST_RABBITMQ__PASSWORD",
        )
    })?;
    let trust = trust("rabbitmq.ca_file", section.ca_file.as_deref())?;
    let (user, queue) = (section.user.clone(), section.queue.clone());
    Ok(Some(BrokerSettings { url, user, password, queue, trust, heartbeat: BrokerSettings::HEARTBEAT }))
}

fn trust(field: &str, file: Option<&Path>) -> Result<Trust, Failure> {
    Trust::load(file).map_err(|error| Failure::operator(format_args!("{field}: {error}")))
}

/// Looks at everything that is configured of it.
pub(super) fn findings(config: &Config) -> Result<Vec<Finding>, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Failure::operator)?;
    runtime.block_on(async {
        let mut findings = Vec::new();
        let token = match provider(config) {
            Ok(None) => None,
            Ok(Some(settings)) => {
                let what = format!("identity provider, client {}", settings.client_id);
                let given = Provider::new(settings).token().await.map_err(|trouble| trouble.fault().sentence);
                findings.push(identity(what, &given));
                given.ok()
            }
            // The others are looked at all the same.
            Err(failure) => {
                findings.push(Finding::new("identity provider", Err(failure.sentence)));
                None
            }
        };
        match broker(config) {
            Ok(None) => {}
            Ok(Some(settings)) => findings.push(messages(&settings).await),
            Err(failure) => findings.push(Finding::new("message broker", Err(failure.sentence))),
        }
        if let Some(url) = &config.controller.url {
            let trust = trust("controller.ca_file", config.controller.ca_file.as_deref());
            let result = match &trust {
                Ok(trust) => controller(url, trust.clone(), token.as_ref()).await,
                Err(failure) => Err(failure.sentence.clone()),
            };
            findings.push(Finding::new(format!("controller {url}"), result));
            if let (true, Some(token), Ok(trust)) = (config.serve.is_to_controller(), &token, trust) {
                findings.push(Finding::new(format!("uploads to controller {url}"), uploads(url, trust, token).await));
            }
        }
        Ok(findings)
    })
}

fn without_stop(sentence: &str) -> String {
    sentence.trim_end_matches('.').to_owned()
}

fn identity(what: String, given: &Result<Token, String>) -> Finding {
    let token = match given {
        Ok(token) => token,
        Err(sentence) => return Finding::new(what, Err(without_stop(sentence))),
    };
    let seconds = token.life.as_secs();
    let result = match token.claims.has_role() {
        Some(true) => Ok(format!("gives an access token for {seconds} s with the role opentalk-recorder")),
        Some(false) => Err(without_stop(&refused_for_good(Some(false)).sentence)),
        None => Ok(format!(
            "gives an access token for {seconds} s that cannot be read; whether it has the role opentalk-recorder is not known"
        )),
    };
    let is_meant_for_nobody = token.claims.has_role().is_some() && token.claims.audience().iter().all(|one| one == ACCOUNT);
    let advice = (result.is_ok() && is_meant_for_nobody).then(|| {
        "the access token is meant for no client, and controllers up to 0.29 refuse such tokens of Keycloak 26 and newer: add an audience mapper \
         for the controller's client, as in samples/keycloak/recorder.json"
            .to_owned()
    });
    Finding { advice, ..Finding::new(what, result) }
}

async fn messages(settings: &BrokerSettings) -> Finding {
    let result = match look(settings).await {
        Ok(seen) => Ok(match seen.queue {
            None => "can be used; the queue is not there yet, and is made when Orders are taken".to_owned(),
            Some((commands, consumers)) => {
                format!("can be used; start commands that wait: {commands}, services that consume: {consumers}")
            }
        }),
        Err(error) => Err(without_stop(&error.to_string())),
    };
    Finding::new(format!("message broker, queue {}", settings.queue), result)
}

/// Asks the controller to start a room that it does not have.
async fn controller(url: &str, trust: Trust, token: Option<&Token>) -> Result<String, String> {
    let address = format!("{}/v1/services/recording/start", url.trim_end_matches('/'));
    let mut request = Request::post(address).header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, bearer(&token.secret)?);
    }
    let request = request.body(NO_ROOM.into()).map_err(|_| "its address is not understood".to_owned())?;
    match Exchange::new(trust, LIMIT).ask(request).await {
        Ok(answer) => verdict(&answer, token.is_some()),
        Err(error @ ExchangeError::NotSecure(_)) => {
            Err(format!("{error}: its certificate is not trusted here ([controller] ca_file) or not for its name"))
        }
        Err(error) => Err(format!("{error}: correct [controller] url, or start the controller")),
    }
}

/// Opens an upload for a room that the controller does not have, and sends nothing: that leaves nothing behind.
async fn uploads(url: &str, trust: Trust, token: &Token) -> Result<String, String> {
    let controller = Controller::at(url, trust).map_err(|error| error.to_string())?;
    match connect(&controller, &token.secret, NO_ROOM_ID, 0).await {
        Ok(link) => {
            drop(link);
            Ok("are let in; whether a room is there and its owner's storage has space is seen only when something is sent".into())
        }
        Err(refusal) => {
            Err(format!("are refused: {}; recordings that are meant for it would stay on this machine", refusal.words()))
        }
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    let mut bearer =
        HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| "the access token is none".to_owned())?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// What the answer to a start of no room means.
fn verdict(answer: &Response<Vec<u8>>, with_token: bool) -> Result<String, String> {
    let status = answer.status().as_u16();
    match (status, with_token) {
        (401, false) => Ok("answers; more cannot be seen without an access token".into()),
        // A token that is not believed is answered with this header, one without the role is not.
        (401, true) if answer.headers().contains_key(WWW_AUTHENTICATE) => Err(
            "does not believe the access token: [keycloak] issuer must be the realm that it believes, and it must be restarted after the realm's keys were changed".into(),
        ),
        (401 | 403, true) => Err(without_stop(&refused_for_good(Some(false)).sentence)),
        (404 | 405, _) => Err(format!(
            "starts no recordings (it answers {status}): correct [controller] url, and see that its section [rabbit_mq] names a recording_task_queue"
        )),
        (502..=504, _) => Err(format!("is not ready (it answers {status}): start it, or look at the proxy before it")),
        // Before 0.32 a room that is not there is a failure of its own.
        (200..=299 | 400 | 500, true) => Ok(format!("accepts the access token; to a room that does not exist it answers {status}")),
        _ => Err(format!("answers {status}: correct [controller] url")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Claims;

    fn answered(status: u16, header: bool, with_token: bool) -> Result<String, String> {
        let mut answer = Response::builder().status(status);
        if header {
            answer = answer.header(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
        }
        verdict(&answer.body(Vec::new()).unwrap(), with_token)
    }

    #[test]
    fn answers_of_a_controller_are_explained() {
        assert!(answered(500, false, true).unwrap().starts_with("accepts the access token"));
        assert!(answered(401, true, false).unwrap().starts_with("answers;"));
        for (status, header, with_token, words) in [
            (401, true, true, "[keycloak] issuer"),
            (401, false, true, "lacks the role opentalk-recorder"),
            (404, false, true, "recording_task_queue"),
            (502, false, false, "is not ready"),
            (500, false, false, "answers 500"),
            (301, false, true, "answers 301"),
        ] {
            let sentence = answered(status, header, with_token).unwrap_err();
            assert!(sentence.contains(words) && !sentence.ends_with('.'), "{sentence}");
        }
    }

    #[test]
    fn tokens_are_explained() {
        let token = |claims: &str| {
            use base64::Engine as _;
            let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
            let secret = Secret::new(format!("e30.{claims}.sig"));
            Ok(Token { claims: Claims::read(&secret), secret, life: Duration::from_secs(300) })
        };
        let good = r#""realm_access":{"roles":["opentalk-recorder"]}"#;
        let finding = identity("x".into(), &token(&format!(r#"{{{good},"aud":["Controller","account"]}}"#)));
        assert_eq!(finding.result.unwrap(), "gives an access token for 300 s with the role opentalk-recorder");
        assert_eq!(finding.advice, None);
        for aud in ["", r#","aud":"account""#] {
            let finding = identity("x".into(), &token(&format!("{{{good}{aud}}}")));
            assert!(finding.result.is_ok() && finding.advice.unwrap().contains("audience mapper"));
        }
        let finding = identity("x".into(), &token("{}"));
        assert!(finding.result.unwrap_err().contains("lacks the role") && finding.advice.is_none());
        assert!(identity("x".into(), &Err("It is away.".into())).result.unwrap_err() == "It is away");
    }
}
