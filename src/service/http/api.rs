//! What is answered to which request.
//!
//! In: requests. Out: JSON, the text of metrics, and typed errors `{"error":{"code","field","sentence"}}` that name what is wrong.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::Value;

use super::status::{Health, LayoutChoice, Status};
use super::{MAX_BODY, Operators, metrics};
use crate::service::board::Refusal;
use crate::service::layouts::{self, LookError};

/// All addresses.
pub(super) fn router(operators: Arc<Operators>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(all_metrics))
        .route("/status", get(status))
        .route("/sessions/{id}/layout", get(layout).put(switch_layout))
        .route_layer(from_fn_with_state(Arc::clone(&operators), only_operators));
    Router::new()
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .merge(guarded)
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_this_way)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(operators)
}

/// Why a request is not obeyed.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    /// One word for programs, in snake case.
    code: &'static str,
    /// The field of the request that it is about.
    field: Option<String>,
    /// One sentence for people.
    sentence: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, sentence: impl ToString) -> Self {
        Self { status, code, field: None, sentence: sentence.to_string() }
    }

    fn of_field(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Serialize)]
        struct Inner {
            code: &'static str,
            field: Option<String>,
            sentence: String,
        }
        let Self { status, code, field, sentence } = self;
        let mut response = (status, Json(Body { error: Inner { code, field, sentence } })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, hyper::header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::Unknown => (StatusCode::NOT_FOUND, "unknown_session"),
            Refusal::Ending => (StatusCode::CONFLICT, "ending"),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        Self::new(status, code, refusal)
    }
}

impl From<LookError> for ApiError {
    fn from(error: LookError) -> Self {
        let code = match error {
            LookError::Unknown { .. } => "unknown_layout",
            LookError::Unreadable { .. } | LookError::Picture { .. } | LookError::Text(_) => "bad_layout",
        };
        Self::new(StatusCode::BAD_REQUEST, code, error).of_field("layout")
    }
}

/// Lets nobody pass without the token.
async fn only_operators(State(operators): State<Arc<Operators>>, request: Request, next: Next) -> Response {
    let Some(token) = &operators.token else {
        let sentence = "no token for operators is configured (http.token_file); without one only the health is answered";
        return ApiError::new(StatusCode::FORBIDDEN, "no_token_configured", sentence).into_response();
    };
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    // The word before the token is written in any case (RFC 9110, section 11.1).
    let given = given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if given.is_some_and(|(_, given)| token.is(given.trim())) {
        return next.run(request).await;
    }
    let sentence = "give the operators' token: Authorization: Bearer TOKEN";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", sentence).into_response()
}

async fn health(State(operators): State<Arc<Operators>>) -> Json<Health> {
    Json(Health::of(&operators.board))
}

/// For those who look at nothing but the status code.
async fn ready(State(operators): State<Arc<Operators>>) -> Response {
    let health = Health::of(&operators.board);
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn all_metrics(State(operators): State<Arc<Operators>>) -> Result<Response, ApiError> {
    let text = metrics::text(&operators.board)
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", "the metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn status(State(operators): State<Arc<Operators>>) -> Json<Status> {
    Json(Status::of(&operators.board))
}

async fn layout(State(operators): State<Arc<Operators>>, Path(id): Path<String>) -> Result<Json<LayoutChoice>, ApiError> {
    let (posted, began_with) = operators.board.find(&id).ok_or(Refusal::Unknown)?;
    let names = blocking(move || {
        let mut names = operators.layouts.names();
        if !names.contains(&began_with.name) {
            names.push(began_with.name);
        }
        names
    });
    Ok(Json(LayoutChoice { layout: posted.snapshot.layout, layouts: names.await? }))
}

async fn switch_layout(
    State(operators): State<Arc<Operators>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<LayoutChoice>, ApiError> {
    let body = body.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format_args!("a body has at most {MAX_BODY} bytes"))
        }
        status => ApiError::new(status, "bad_body", "the body cannot be read"),
    })?;
    let name = wanted_layout(&body)?;
    let (_, began_with) = operators.board.find(&id).ok_or(Refusal::Unknown)?;
    let (wanted, shelf) = (name.clone(), Arc::clone(&operators));
    let text = blocking(move || match wanted == began_with.name {
        // Its pictures may have gone meanwhile.
        true => layouts::check(&began_with).map(|()| began_with),
        false => shelf.layouts.find(&wanted),
    });
    operators.board.switch_layout(&id, &name, text.await??).await?;
    layout(State(operators), Path(id)).await
}

/// Reads the body of a request for a layout, and throws it away: for fuzzing.
pub(crate) fn wanted(body: &[u8]) {
    drop(wanted_layout(body).map_err(IntoResponse::into_response));
}

/// The one field of `{"layout": "speaker"}`.
fn wanted_layout(body: &[u8]) -> Result<String, ApiError> {
    let refuse = |field: &str, sentence: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_field", sentence).of_field(field));
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let sentence = format!("the body is not JSON, at line {line}, column {column}; write it like {{\"layout\":\"speaker\"}}");
        ApiError::new(StatusCode::BAD_REQUEST, "bad_json", sentence)
    })?;
    let Value::Object(fields) = body else { return refuse("layout", "the body must be an object with the field layout") };
    if let Some(unknown) = fields.keys().find(|field| *field != "layout") {
        return refuse(unknown, "there is no such field; the only one is layout");
    }
    match fields.get("layout") {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(_) => refuse("layout", "the name of a layout is a text in quotes"),
        None => refuse("layout", "the field layout is missing"),
    }
}

/// Work that may wait for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "broken", "the layout cannot be looked at"))
}

async fn nothing_here() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_path", "there is nothing at this address")
}

async fn not_this_way() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this address does not take this method")
}
