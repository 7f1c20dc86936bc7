//! Asks the identity provider, by the crate openidconnect.
//!
//! In: who we are, and where the provider is. Out: a token with the length of its life, or a [`Trouble`]. What the provider says about itself is asked once and
//! kept until a request fails. Answers are not repeated in errors and logs: they may hold what they were sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hyper::header::ACCEPT;
use openidconnect::core::{CoreClient, CoreClientAuthMethod, CoreErrorResponseType, CoreProviderMetadata};
use openidconnect::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, IssuerUrl, JsonWebKeySet, OAuth2TokenResponse as _,
    RequestTokenError, StandardErrorResponse, TokenUrl,
};
use recorder_core::identity::Trouble;
use recorder_core::secret::Secret;
use tokio::sync::Mutex;

use super::Claims;
use crate::exchange::{Exchange, ExchangeError};
use crate::trust::Trust;

/// One question to the provider, and its answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a token is thought to live whose provider does not say it.
const UNKNOWN_LIFE: Duration = Duration::from_secs(60);

/// Where the provider is, and who we are there.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Address of the realm, as the provider calls it.
    pub issuer: String,
    /// Where tokens are given, when the provider has another name from here.
    pub token_endpoint: Option<String>,
    /// Our client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// Whom we believe.
    pub trust: Trust,
}

/// An access token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Itself.
    pub secret: Secret,
    /// From the answer on.
    pub life: Duration,
    /// What it says of itself.
    pub claims: Claims,
}

/// Where tokens are given, and how a client says who it is there.
#[derive(Clone, Debug)]
struct Endpoint {
    url: TokenUrl,
    auth: AuthType,
}

pub(super) type Answer = Result<Token, Trouble>;

/// The identity provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Provider {
    settings: Arc<ProviderSettings>,
    exchange: Exchange,
    /// Where it said that tokens are given.
    endpoint: Arc<Mutex<Option<Endpoint>>>,
}

impl Provider {
    /// Nothing is asked yet.
    pub fn new(settings: ProviderSettings) -> Self {
        let exchange = Exchange::new(settings.trust.clone(), LIMIT);
        Self { settings: Arc::new(settings), exchange, endpoint: Arc::default() }
    }

    /// Asks for a token. Takes at most 10 s.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn token(&self) -> Result<Token, Trouble> {
        let mut known = self.endpoint.lock().await;
        let endpoint = match known.take() {
            Some(endpoint) => endpoint,
            None => self.discover().await?,
        };
        let token = self.ask(endpoint.clone()).await?;
        *known = Some(endpoint);
        Ok(token)
    }

    /// Where tokens are given: as configured, or as the provider says.
    async fn discover(&self) -> Result<Endpoint, Trouble> {
        if let Some(configured) = &self.settings.token_endpoint {
            let url = TokenUrl::new(configured.clone()).map_err(|_| Trouble::NotUnderstood)?;
            return Ok(Endpoint { url, auth: AuthType::BasicAuth });
        }
        let address = format!("{}/.well-known/openid-configuration", self.settings.issuer.trim_end_matches('/'));
        let request = hyper::Request::get(address).header(ACCEPT, "application/json");
        let request = request.body(Vec::new()).map_err(|_| Trouble::NotUnderstood)?;
        let answer = self.exchange.ask(request).await.map_err(|error| no_answer(&error))?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Err(Trouble::NoRealm),
            status => return Err(refusal(status)),
        }
        let metadata: CoreProviderMetadata = serde_json::from_slice(answer.body()).map_err(|_| Trouble::NotUnderstood)?;
        let issuer = metadata.issuer().as_str();
        if issuer != self.settings.issuer {
            return Err(Trouble::OtherIssuer { issuer: issuer.to_owned() });
        }
        let url = metadata.token_endpoint().cloned().ok_or(Trouble::NotUnderstood)?;
        // A secret that was to be sent over TLS is not sent without.
        if issuer.starts_with("https:") && url.url().scheme() != "https" {
            return Err(Trouble::NotSecure);
        }
        let is_basic = metadata
            .token_endpoint_auth_methods_supported()
            .is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        Ok(Endpoint { url, auth: if is_basic { AuthType::BasicAuth } else { AuthType::RequestBody } })
    }

    async fn ask(&self, endpoint: Endpoint) -> Result<Token, Trouble> {
        let ProviderSettings { client_id, client_secret, issuer, .. } = &*self.settings;
        let issuer = IssuerUrl::new(issuer.clone()).map_err(|_| Trouble::NotUnderstood)?;
        let client = CoreClient::new(ClientId::new(client_id.clone()), issuer, JsonWebKeySet::default())
            .set_client_secret(ClientSecret::new(client_secret.expose().to_owned()))
            .set_auth_type(endpoint.auth)
            .set_token_uri(endpoint.url);
        let status = Arc::new(AtomicU16::new(0));
        let ask = |request: HttpRequest| {
            let (exchange, status) = (self.exchange.clone(), status.clone());
            async move {
                let answer = exchange.ask(request).await?;
                status.store(answer.status().as_u16(), Ordering::Relaxed);
                Ok::<HttpResponse, ExchangeError>(answer)
            }
        };
        match client.exchange_client_credentials().request_async(&ask).await {
            Ok(answer) => {
                let secret = Secret::new(answer.access_token().secret().clone());
                let life = answer.expires_in().unwrap_or(UNKNOWN_LIFE);
                let claims = Claims::read(&secret);
                Ok(Token { secret, life, claims })
            }
            Err(RequestTokenError::Request(error)) => Err(no_answer(&error)),
            Err(RequestTokenError::ServerResponse(answer)) => Err(refused(&answer, status.load(Ordering::Relaxed))),
            Err(_) => Err(match status.load(Ordering::Relaxed) {
                200..=299 | 404 => Trouble::NotUnderstood,
                status => refusal(status),
            }),
        }
    }
}

fn no_answer(error: &ExchangeError) -> Trouble {
    match error {
        ExchangeError::Unreachable(_) => Trouble::Unreachable,
        ExchangeError::NotSecure(_) => Trouble::NotSecure,
        ExchangeError::TooSlow => Trouble::TooSlow,
        ExchangeError::Address | ExchangeError::Protocol | ExchangeError::TooLarge(_) => Trouble::NotUnderstood,
    }
}

fn refusal(status: u16) -> Trouble {
    match status {
        408 | 429 | 500..=599 => Trouble::Unavailable { status },
        status => Trouble::Refused { status },
    }
}

/// What an error of OAuth means. Its text is looked at only to say more exactly what is to be mended.
fn refused(answer: &StandardErrorResponse<CoreErrorResponseType>, status: u16) -> Trouble {
    let description = answer.error_description().map(|text| text.to_lowercase()).unwrap_or_default();
    match answer.error() {
        _ if matches!(refusal(status), Trouble::Unavailable { .. }) => refusal(status),
        _ if matches!(status, 404 | 405) => Trouble::NotUnderstood,
        _ if description.contains("service account") => Trouble::NoServiceAccount,
        CoreErrorResponseType::InvalidClient | CoreErrorResponseType::UnauthorizedClient => Trouble::WrongClient,
        _ => Trouble::Refused { status },
    }
}
