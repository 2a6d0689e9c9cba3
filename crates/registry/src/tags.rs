//! The tags of a repository (distribution specification, "Content Discovery").

use crate::{
    Error, Repository, Result,
    exchange::{Peer, Question, empty},
    repository::Need,
    transport::{ReadError, read_all},
};
use http::{HeaderMap, Method, header};
use serde::Deserialize;
use tare_types::ErrorKind;

/// Tags asked for at once; a registry may give fewer.
const PAGE: usize = 1000;
/// The most tags that are taken from one repository.
const LIMIT: usize = 100_000;

/// The answer; `null` stands for no tags.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Repository {
    /// All tags, in the registry's order.
    ///
    /// # Errors
    /// As [`Repository::resolve`]; ResourceExhausted for more than 100,000.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let mut errors = Vec::new();
        for peer in self.peers_for(Need::Resolve) {
            match self.tags_at(peer).await {
                Ok(tags) => return Ok(tags),
                Err(error) => errors.push((peer.endpoint.host().to_string(), error)),
            }
        }
        Err(self.all_failed("list tags", "", errors))
    }

    async fn tags_at(&self, peer: &Peer) -> Result<Vec<String>> {
        const WHAT: &str = "list tags";
        let (shown, scope) = (format!("{}/{}", self.domain(), self.path()), self.scope(false));
        let failed = |kind, detail: String| Error::new(kind, WHAT, shown.clone(), detail);
        let mut tags: Vec<String> = Vec::new();
        loop {
            let query = match tags.last() {
                Some(last) => format!("n={PAGE}&last={}", crate::location::encode(last)),
                None => format!("n={PAGE}"),
            };
            let question = Question {
                what: WHAT,
                object: &shown,
                method: Method::GET,
                uri: self.uri(peer, "tags/list", &query),
                headers: HeaderMap::new(),
                body: &empty,
                scope: &scope,
                also: &[],
                retry: true,
            };
            let options = &peer.transport.options;
            let (_, mut answer) = peer.ask(&question).await?;
            let body = read_all(answer.body_mut(), options.document_limit, options.deadlines.progress).await;
            let body = body.map_err(|error| match error {
                ReadError::TooLarge => failed(ErrorKind::ResourceExhausted, "the list is too long".into()),
                ReadError::Broken(detail) => failed(ErrorKind::Unavailable, detail),
            })?;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| failed(ErrorKind::DataLoss, format!("the list is malformed: {error}")))?;
            let page = page.tags.unwrap_or_default();
            let more = answer.headers().contains_key(header::LINK) && !page.is_empty();
            // A registry that repeats itself would never end.
            let is_new = page.last() != tags.last();
            tags.extend(page);
            if tags.len() > LIMIT {
                return Err(failed(ErrorKind::ResourceExhausted, format!("more than {LIMIT} tags")));
            }
            if !more || !is_new {
                return Ok(tags);
            }
        }
    }
}
