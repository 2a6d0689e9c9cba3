//! A blob as a stream that survives breaks: Range from the byte reached, with pauses, through mirrors in order.

use crate::{
    Error, Repository, Result,
    exchange::{Peer, Question, empty},
    location::Origin,
    repository::Need,
    retry::Backoff,
    transport::next_data,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use tare_types::{Descriptor, ErrorKind};

/// The bytes of a blob in order, exactly as many as its descriptor says; not hashed.
///
/// Dropping it ends the transfer.
#[derive(Debug)]
pub struct BlobStream {
    repository: Repository,
    descriptor: Descriptor,
    offset: u64,
    place: usize,
    body: Option<Incoming>,
    /// Bytes to throw away because the server ignored the range.
    skip: u64,
    backoff: Option<Backoff>,
    errors: Vec<(String, Error)>,
    done: bool,
}

/// Where a blob may come from.
enum Place<'a> {
    Peer(&'a Peer),
    /// A URL in the descriptor: asked without any credentials (CVE-2020-15157).
    Url(&'a Peer, Uri),
}

impl BlobStream {
    pub(crate) fn new(repository: Repository, descriptor: Descriptor, offset: u64) -> Result<Self> {
        if offset > descriptor.size {
            let detail = format!("offset {offset} is behind the end at {}", descriptor.size);
            let shown = repository.shown(descriptor.digest.as_str());
            return Err(Error::new(ErrorKind::OutOfRange, "fetch blob", shown, detail));
        }
        Ok(Self {
            done: offset == descriptor.size,
            repository,
            descriptor,
            offset,
            place: 0,
            body: None,
            skip: 0,
            backoff: None,
            errors: Vec::new(),
        })
    }

    /// The position of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next piece; `None` at the end of the blob.
    ///
    /// # Errors
    /// What the last endpoint answered, when all failed; DataLoss when it sends more than promised.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        while !self.done {
            if self.body.is_none() {
                self.open().await?;
            }
            let deadline = self.progress_deadline();
            let body = self.body.as_mut().expect("invariant: open() set it or failed");
            match next_data(body, deadline).await {
                Ok(Some(data)) => {
                    if let Some(data) = self.take(data)? {
                        return Ok(Some(data));
                    }
                }
                Ok(None) => {
                    self.broken(format!("the body ended at byte {} of {}", self.offset, self.descriptor.size))
                        .await?
                }
                Err(detail) => {
                    self.broken(format!("{detail} at byte {} of {}", self.offset, self.descriptor.size))
                        .await?
                }
            }
        }
        Ok(None)
    }

    /// Counts a piece; `None` when all of it lies before the offset.
    fn take(&mut self, mut data: Bytes) -> Result<Option<Bytes>> {
        if self.skip >= data.len() as u64 {
            self.skip -= data.len() as u64;
            return Ok(None);
        }
        let data = data.split_off(std::mem::take(&mut self.skip) as usize);
        let end = self.offset + data.len() as u64;
        if end > self.descriptor.size {
            self.body = None;
            let detail = format!("the registry sends more than the {} bytes promised", self.descriptor.size);
            return Err(Error::new(ErrorKind::DataLoss, "fetch blob", self.shown(), detail));
        }
        if let Some(backoff) = &mut self.backoff {
            backoff.reset();
        }
        self.offset = end;
        self.done = end == self.descriptor.size;
        Ok(Some(data))
    }

    fn shown(&self) -> String {
        self.repository.shown(self.descriptor.digest.as_str())
    }

    fn progress_deadline(&self) -> std::time::Duration {
        let peers = self.repository.peers_for(Need::Pull);
        peers
            .first()
            .map_or(std::time::Duration::from_secs(30), |peer| peer.transport.options.deadlines.progress)
    }

    /// The connection broke: pause, then open again at the byte reached; after too many, the next place.
    async fn broken(&mut self, detail: String) -> Result<()> {
        self.body = None;
        self.skip = 0;
        let pause = self.backoff.as_mut().and_then(Backoff::next_pause);
        let error = Error::new(ErrorKind::Unavailable, "fetch blob", self.shown(), detail);
        match pause {
            Some(pause) => {
                tracing::debug!(%error, ?pause, "again");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => self.next_place(error),
        }
    }

    /// Goes on to the next place, or gives up with all that was seen.
    fn next_place(&mut self, error: Error) -> Result<()> {
        self.backoff = None;
        let count = self.places().len();
        let host = match self.places().get(self.place) {
            Some(Place::Peer(peer)) => peer.endpoint.host().to_string(),
            Some(Place::Url(_, uri)) => uri.host().unwrap_or_default().to_string(),
            None => String::new(),
        };
        self.errors.push((host, error));
        self.place += 1;
        if self.place < count {
            return Ok(());
        }
        let errors = std::mem::take(&mut self.errors);
        self.place = 0;
        Err(self.repository.all_failed("fetch blob", self.descriptor.digest.as_str(), errors))
    }

    fn places(&self) -> Vec<Place<'_>> {
        let peers = self.repository.peers_for(Need::Pull);
        let mut places: Vec<Place<'_>> = peers.iter().map(|peer| Place::Peer(peer)).collect();
        if let Some(peer) = peers.first() {
            let usable = |url: &String| url.parse::<Uri>().ok().filter(|uri| Origin::of(uri).is_some());
            places.extend(self.descriptor.urls.iter().filter_map(usable).map(|uri| Place::Url(peer, uri)));
        }
        places
    }

    /// Asks the current place, and those behind it, for the bytes from the offset on.
    async fn open(&mut self) -> Result<()> {
        loop {
            let places = self.places();
            let Some(place) = places.get(self.place) else {
                let digest = self.descriptor.digest.as_str();
                return Err(self.repository.all_failed("fetch blob", digest, Vec::new()));
            };
            let retries = match place {
                Place::Peer(peer) | Place::Url(peer, _) => peer.transport.options.retries.clone(),
            };
            match self.ask(place).await {
                Ok((answer, skip)) => {
                    self.body = Some(answer.into_body());
                    self.skip = skip;
                    self.backoff.get_or_insert_with(|| Backoff::new(&retries));
                    return Ok(());
                }
                Err(error) => self.next_place(error)?,
            }
        }
    }

    async fn ask(&self, place: &Place<'_>) -> Result<(Response<Incoming>, u64)> {
        let shown = self.shown();
        let scope = self.repository.scope(false);
        let mut headers = HeaderMap::new();
        if self.offset > 0 {
            let range = format!("bytes={}-", self.offset);
            headers.insert(header::RANGE, HeaderValue::from_str(&range).expect("invariant: digits"));
        }
        let (peer, uri) = match place {
            Place::Peer(peer) => {
                (*peer, self.repository.uri(peer, &format!("blobs/{}", self.descriptor.digest), ""))
            }
            Place::Url(peer, uri) => (*peer, uri.clone()),
        };
        let question = Question {
            what: "fetch blob",
            object: &shown,
            method: Method::GET,
            uri: uri.clone(),
            headers,
            body: &empty,
            scope: &scope,
            also: &[],
            retry: true,
        };
        let (_, answer) = match place {
            Place::Peer(peer) => peer.ask(&question).await?,
            Place::Url(..) => peer.stranger(&uri).ask(&question).await?,
        };
        let skip = self.bytes_before(&answer)?;
        Ok((answer, skip))
    }

    /// How many bytes the answer has before our offset: none with the range, all of them without.
    fn bytes_before(&self, answer: &Response<Incoming>) -> Result<u64> {
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.offset);
        }
        let range = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let start = range
            .and_then(|text| text.strip_prefix("bytes "))
            .and_then(|text| text.split_once('-'))
            .and_then(|(start, _)| start.parse::<u64>().ok());
        match start {
            Some(start) if start <= self.offset => Ok(self.offset - start),
            _ => {
                let detail =
                    format!("the answer's range {:?} is not the one asked for", range.unwrap_or_default());
                Err(Error::new(ErrorKind::DataLoss, "fetch blob", self.shown(), detail))
            }
        }
    }
}
