//! The requests of an upload, one by one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_s3::Config;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use md5::{Digest, Md5};
use recorder_core::upload::record::to_hex;
use recorder_core::upload::{Answer, Object, Piece, Refusal, Request, SentPart, Trouble};

use super::verdict::trouble;
use super::{BUFFER_LEN, COMPLETE, S3Store, time_for, timeouts};
use crate::storage::books;
use crate::storage::uploader::ObjectStore;

/// Name of the metadata that tell our object from any other under its key.
const IDENTITY: &str = "roomcast-upload";
/// What films are.
const FILM: &str = "video/mp4";
/// More uploads to one key, or pages of parts, are not looked at.
const MOST_PAGES: usize = 100;

impl ObjectStore for S3Store {
    fn perform(&self, request: Request, file: Arc<Path>) -> BoxFuture<'static, Result<Answer, Trouble>> {
        let store = self.clone();
        Box::pin(async move {
            match request {
                Request::FindUploads { key } => store.find_uploads(key).await,
                Request::Look { key } => store.look(key).await,
                Request::Create { key, identity } => store.create(key, identity).await,
                Request::ListParts { key, upload_id } => store.list_parts(key, upload_id).await,
                Request::SendPart { key, upload_id, piece } => store.send_part(key, upload_id, piece, &file).await,
                Request::Complete { key, upload_id, parts } => store.complete(key, upload_id, parts).await,
                Request::Abort { key, upload_id } => store.abort(key, upload_id).await,
                Request::Put { key, identity, len } => store.put(key, identity, len, &file).await,
            }
        })
    }
}

impl S3Store {
    /// Writes a small object of this name, looks at it, and removes it again.
    ///
    /// # Errors
    /// Why one of the three is not possible.
    pub async fn try_out(&self, key: &str) -> Result<(), Trouble> {
        let text = b"Roomcast was here, and may write.";
        let sent = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from_static(text)).send();
        sent.await.map_err(because)?;
        let seen = self.client.head_object().bucket(&self.bucket).key(key).send().await.map_err(because)?;
        self.client.delete_object().bucket(&self.bucket).key(key).send().await.map_err(because)?;
        if seen.content_length() == Some(text.len() as i64) { Ok(()) } else { Err(Trouble::NotAsSent) }
    }

    async fn find_uploads(&self, key: String) -> Result<Answer, Trouble> {
        let mut found = Vec::new();
        let (mut key_marker, mut upload_marker) = (None, None);
        for _ in 0..MOST_PAGES {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(&key)
                .set_key_marker(key_marker.take())
                .set_upload_id_marker(upload_marker.take())
                .send()
                .await
                .map_err(because)?;
            let ours = page.uploads().iter().filter(|upload| upload.key() == Some(&key));
            found.extend(ours.filter_map(|upload| upload.upload_id().map(str::to_owned)));
            if page.is_truncated() != Some(true) {
                break;
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            upload_marker = page.next_upload_id_marker().map(str::to_owned);
        }
        Ok(Answer::Uploads(found))
    }

    async fn look(&self, key: String) -> Result<Answer, Trouble> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(head) => Ok(Answer::Object(Some(Object {
                len: head.content_length().and_then(|len| u64::try_from(len).ok()).unwrap_or(0),
                identity: head.metadata().and_then(|metadata| metadata.get(IDENTITY).cloned()),
                etag: head.e_tag().map(unquoted),
            }))),
            // Without a body it cannot be told from a missing bucket; whoever needs to know asks for something else.
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 404) => {
                Ok(Answer::Object(None))
            }
            Err(error) => Err(because(error)),
        }
    }

    async fn create(&self, key: String, identity: String) -> Result<Answer, Trouble> {
        let content = content_type(&key);
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key).content_type(content);
        let created = request.metadata(IDENTITY, identity).send().await.map_err(because)?;
        created.upload_id().map(|id| Answer::Created(id.to_owned())).ok_or(Trouble::Unavailable)
    }

    async fn list_parts(&self, key: String, upload_id: String) -> Result<Answer, Trouble> {
        let mut found = Vec::new();
        let mut marker = None;
        for _ in 0..MOST_PAGES {
            let request = self.client.list_parts().bucket(&self.bucket).key(&key).upload_id(&upload_id);
            let page = request.set_part_number_marker(marker.take()).send().await.map_err(because)?;
            found.extend(page.parts().iter().filter_map(|part| {
                let number = u32::try_from(part.part_number()?).ok()?;
                Some((number, unquoted(part.e_tag()?), u64::try_from(part.size()?).ok()?))
            }));
            if page.is_truncated() != Some(true) {
                break;
            }
            marker = page.next_part_number_marker().map(str::to_owned);
        }
        Ok(Answer::Parts(found))
    }

    async fn send_part(&self, key: String, upload_id: String, piece: Piece, file: &Arc<Path>) -> Result<Answer, Trouble> {
        let md5 = sum_of(file, piece).await?;
        let number = i32::try_from(piece.number).map_err(|_| Trouble::Refused(Refusal::TooLarge))?;
        let sent = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload_id)
            .part_number(number)
            .content_md5(STANDARD.encode(&md5))
            .content_length(i64::try_from(piece.len).map_err(|_| Trouble::Refused(Refusal::TooLarge))?)
            .body(body(file, piece).await?)
            .customize()
            .config_override(Config::builder().timeout_config(timeouts(time_for(piece.len))))
            .send()
            .await
            .map_err(because)?;
        let etag = sent.e_tag().map(unquoted).ok_or(Trouble::Unavailable)?;
        Ok(Answer::Sent(SentPart { len: piece.len, etag, md5: to_hex(&md5) }))
    }

    async fn complete(&self, key: String, upload_id: String, parts: Vec<(u32, String)>) -> Result<Answer, Trouble> {
        let parts = parts.into_iter().filter_map(|(number, etag)| {
            let number = i32::try_from(number).ok()?;
            Some(CompletedPart::builder().part_number(number).e_tag(format!("\"{etag}\"")).build())
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload_id);
        let limit = Config::builder().timeout_config(timeouts(COMPLETE));
        request.multipart_upload(parts).customize().config_override(limit).send().await.map_err(because)?;
        Ok(Answer::Done)
    }

    async fn abort(&self, key: String, upload_id: String) -> Result<Answer, Trouble> {
        self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload_id).send().await.map_err(because)?;
        Ok(Answer::Done)
    }

    async fn put(&self, key: String, identity: String, len: u64, file: &Arc<Path>) -> Result<Answer, Trouble> {
        let piece = Piece { number: 1, offset: 0, len };
        let (md5, content) = (sum_of(file, piece).await?, content_type(&key));
        let sent = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(content)
            .metadata(IDENTITY, identity)
            .content_md5(STANDARD.encode(&md5))
            .content_length(i64::try_from(len).map_err(|_| Trouble::Refused(Refusal::TooLarge))?)
            .body(body(file, piece).await?)
            .customize()
            .config_override(Config::builder().timeout_config(timeouts(time_for(len))))
            .send()
            .await
            .map_err(because)?;
        let etag = sent.e_tag().map(unquoted).ok_or(Trouble::Unavailable)?;
        Ok(Answer::Sent(SentPart { len, etag, md5: to_hex(&md5) }))
    }
}

/// Logged here, because a [`Trouble`] only holds what decides.
fn because<E>(error: SdkError<E, HttpResponse>) -> Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let trouble = trouble(&error);
    let request_id = error.as_service_error().and_then(|service| service.meta().extra("aws_request_id"));
    tracing::debug!(?trouble, request_id, "the storage did not do what was asked");
    trouble
}

fn content_type(key: &str) -> &'static str {
    if books::is_book(Path::new(key)) { books::CONTENT_TYPE } else { FILM }
}

fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

fn unreadable(error: &io::Error) -> Trouble {
    Trouble::Local(error.kind().to_string())
}

/// Reads the stretch again while it is sent: it is short enough to lie in the system's cache still.
async fn body(file: &Arc<Path>, piece: Piece) -> Result<ByteStream, Trouble> {
    let reader = ByteStream::read_from().path(file).offset(piece.offset).length(Length::Exact(piece.len));
    reader.buffer_size(BUFFER_LEN).build().await.map_err(|_| Trouble::Local("the file is shorter than it was".into()))
}

/// MD5 of a stretch of the file.
async fn sum_of(file: &Arc<Path>, piece: Piece) -> Result<Vec<u8>, Trouble> {
    let file = PathBuf::from(&**file);
    let sum = tokio::task::spawn_blocking(move || {
        let file = File::open(file)?;
        let (mut sum, mut buffer, mut done) = (Md5::new(), vec![0; BUFFER_LEN], 0);
        while done < piece.len {
            let want = usize::try_from(piece.len - done).unwrap_or(usize::MAX).min(BUFFER_LEN);
            let read = file.read_at(&mut buffer[..want], piece.offset + done)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            sum.update(&buffer[..read]);
            done += read as u64;
        }
        Ok(sum.finalize().to_vec())
    });
    match sum.await {
        Ok(sum) => sum.map_err(|error| unreadable(&error)),
        Err(_) => Err(Trouble::Local("interrupted".into())),
    }
}
