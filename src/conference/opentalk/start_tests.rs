//! Each row of what a real controller answered, and what none has answered yet.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::trust::Trust;

const TOKEN: &str = "canary.access.token";
const ROOM: &str = "2b801896-c1b0-4383-a937-254a55b30c02";

fn main_room() -> StartRoom {
    StartRoom { room: ROOM.into(), breakout: None }
}

/// Starts against a server that answers one connection with `answer` and ends it; also gives the request.
async fn start_against(answer: Vec<u8>, room: StartRoom) -> (Result<Secret, StartError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/prefix", listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        let mut buffer = [0; 4096];
        while !request.contains('}') {
            let count = stream.read(&mut buffer).await.unwrap();
            request.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        // Too large an answer is not taken to its end.
        _ = stream.write_all(&answer).await;
        request
    };
    let controller = Controller::at(&address, Trust::load(None).unwrap()).unwrap();
    let token = Secret::new(TOKEN);
    tokio::join!(controller.start(&token, &room), serving)
}

fn http(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn the_request_is_what_a_real_controller_took() {
    let answer = http(200, "", r#"{"ticket":"room#ticket-1","resumption":"r"}"#);
    let (ticket, request) = start_against(answer.clone(), main_room()).await;
    assert_eq!(ticket.unwrap().expose(), "room#ticket-1");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /prefix/v1/services/recording/start HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert_eq!(body, format!(r#"{{"room_id":"{ROOM}"}}"#));
    let breakout = StartRoom { room: ROOM.into(), breakout: Some("26bbe290-2935-447a-80ab-6ab7ffaf4d73".into()) };
    let (_, request) = start_against(answer, breakout).await;
    assert!(request.ends_with(r#","breakout_room":"26bbe290-2935-447a-80ab-6ab7ffaf4d73"}"#), "{request}");
}

#[tokio::test]
async fn every_recorded_answer_is_judged() {
    let lines = include_str!("../../../tests/recorded/opentalk-b/03-bad-inputs.jsonl").lines();
    let mut judged = std::collections::BTreeMap::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["via"] != "http" || line["dir"] != "in" {
            continue;
        }
        let (status, body) = (line["msg"]["status"].as_u64().unwrap() as u16, line["msg"]["body"].to_string());
        let challenge = line["msg"]["headers"]["WWW-Authenticate"].as_str();
        let headers = challenge.map(|text| format!("WWW-Authenticate: {text}\r\n")).unwrap_or_default();
        let (result, _) = start_against(http(status, &headers, &body), main_room()).await;
        let is_right = match (status, challenge) {
            (200, _) => result.as_ref().is_ok_and(|ticket| body.contains(ticket.expose())),
            (401, Some(_)) => matches!(result, Err(StartError::TokenRefused)),
            (401, None) => matches!(result, Err(StartError::RoleMissing)),
            (404, _) => matches!(result, Err(StartError::NotHere)),
            (400, _) => matches!(result, Err(StartError::BadRoom)),
            (500, _) => matches!(result, Err(StartError::Failed)),
            other => panic!("{other:?}"),
        };
        assert!(is_right, "{line}: {result:?}");
        *judged.entry(status).or_insert(0) += 1;
    }
    assert_eq!(judged, [(200, 6), (400, 4), (401, 6), (404, 1), (500, 1)].into());
}

#[tokio::test]
async fn other_answers_are_judged_too() {
    type Is = fn(&StartError) -> bool;
    let rows: [(u16, &str, Is, Retry); 10] = [
        (401, r#"{"code":"unauthorized"}"#, |e| matches!(e, StartError::RoleMissing), Retry::Never),
        (403, "", |e| matches!(e, StartError::RoleMissing), Retry::Never),
        (404, "", |e| matches!(e, StartError::NotHere), Retry::Never),
        (409, r#"{"code":"storage_quota_exceeded"}"#, |e| matches!(e, StartError::StorageFull), Retry::Never),
        (403, r#"{"code":"quota_exceeded"}"#, |e| matches!(e, StartError::StorageFull), Retry::Never),
        (418, "", |e| matches!(e, StartError::Refused(418)), Retry::Never),
        (503, "<html>", |e| matches!(e, StartError::NotReady), Retry::After(Duration::from_secs(1))),
        (429, "", |e| matches!(e, StartError::NotReady), Retry::After(Duration::from_secs(1))),
        (200, "{}", |e| matches!(e, StartError::NotUnderstood), Retry::After(Duration::from_secs(1))),
        (200, "no JSON", |e| matches!(e, StartError::NotUnderstood), Retry::After(Duration::from_secs(1))),
    ];
    for (status, body, is_right, retry) in rows {
        let error = start_against(http(status, "", body), main_room()).await.0.unwrap_err();
        assert!(is_right(&error), "{status} {body}: {error:?}");
        assert_eq!(error.fault().retry, retry, "{status} {body}");
    }
}

#[tokio::test]
async fn an_answer_without_end_or_form_is_refused() {
    let large = format!(r#"{{"ticket":"{}"}}"#, "t".repeat(LARGEST_ANSWER));
    let error = start_against(http(200, "", &large), main_room()).await.0.unwrap_err();
    assert!(matches!(error, StartError::NotUnderstood), "{error:?}");
    let error = start_against(b"no HTTP at all\r\n\r\n".to_vec(), main_room()).await.0.unwrap_err();
    assert!(matches!(error, StartError::NotUnderstood), "{error:?}");
    let error = start_against(Vec::new(), main_room()).await.0.unwrap_err();
    assert!(matches!(error, StartError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_a_token_that_is_none() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let controller = Controller::at(&address, Trust::load(None).unwrap()).unwrap();
    let error = controller.start(&Secret::new(TOKEN), &main_room()).await.unwrap_err();
    assert!(matches!(error, StartError::Unreachable(_)), "{error:?}");
    assert_eq!(error.fault().sentence, "The OpenTalk controller cannot be reached.");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let controller = Controller::at(&address, Trust::load(None).unwrap()).unwrap();
    let error = controller.start(&Secret::new("two\nlines"), &main_room()).await.unwrap_err();
    assert!(matches!(error, StartError::TokenText), "{error:?}");
}

#[tokio::test]
async fn silence_ends_after_four_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let controller = Controller::at(&address, Trust::load(None).unwrap()).unwrap();
    let begin = std::time::Instant::now();
    let error = controller.start(&Secret::new(TOKEN), &main_room()).await.unwrap_err();
    assert!(matches!(error, StartError::TooSlow), "{error:?}");
    assert!(begin.elapsed() >= LIMIT);
}
