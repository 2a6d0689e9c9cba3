//! Pull and push: an answer that begins with the first step, and ends with an error inside when it fails later.

use crate::body::{self, Handled};
use crate::convert::create::parse_platform;
use crate::convert::progress::{Aux, Line, to_line};
use crate::door::Docker;
use crate::error::ApiError;
use crate::handlers::images::repo_tag;
use crate::request::Request;
use crate::wire::image::DistributionInspect;
use crate::wire::system::AuthConfig;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use tare_engine::images::{Credentials, Image, Images, Progress, ProgressStep, PullRequest};
use tare_types::{Digest, ErrorKind, Namespace, Platform, Reference};
use tokio::sync::mpsc;

/// Steps read ahead of the client.
const AHEAD: usize = 64;

/// `X-Registry-Auth`: base64 of JSON. What cannot be read counts as none, as in dockerd.
fn credentials(request: &Request) -> Option<Credentials> {
    let text = request.header("X-Registry-Auth").filter(|text| !text.is_empty())?;
    let bytes = [
        base64::engine::general_purpose::URL_SAFE,
        base64::engine::general_purpose::URL_SAFE_NO_PAD,
        base64::engine::general_purpose::STANDARD,
    ]
    .iter()
    .find_map(|engine| engine.decode(text).ok())?;
    to_credentials(crate::wire::parse(&bytes).ok()?)
}

/// Credentials of a document; `None` when it holds none.
pub(crate) fn to_credentials(config: AuthConfig) -> Option<Credentials> {
    let mut credentials = Credentials {
        username: config.username,
        password: config.password.0,
        identity_token: config.identitytoken.0,
        registry_token: config.registrytoken.0,
    };
    // `auth` is base64 of user:password, from a configuration file.
    if credentials.username.is_empty() && !config.auth.0.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(&config.auth.0).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (username, password) = text.split_once(':')?;
        credentials.username = username.to_owned();
        credentials.password = password.trim_end_matches('\0').to_owned();
    }
    (credentials != Credentials::default()).then_some(credentials)
}

/// `POST /images/create`: a pull, or an import.
pub(crate) async fn create(door: &Docker, request: Request) -> Handled {
    let image = request.query.get("fromImage");
    if image.is_empty() {
        return super::transfer::import(door, request).await;
    }
    let (reference, all) = pull_reference(image.trim_end_matches(':'), request.query.get("tag"))?;
    let platform = parse_platform(request.query.get("platform"))?.filter(|_| request.version.at_least(32));
    let images = door.engine().images();
    if all {
        let pull = AllTags { images, namespace: door.namespace().clone(), reference, platform };
        return pull.answer(credentials(&request)).await;
    }
    let before = images.get(door.namespace(), &reference.to_string()).await.ok();
    let before_digest = before.as_ref().map(|image| image.target.digest.clone());
    let pull = PullRequest {
        namespace: door.namespace().clone(),
        reference: reference.clone(),
        platform,
        credentials: credentials(&request),
        snapshotter: None,
    };
    let (sender, steps) = mpsc::channel(AHEAD);
    let name = reference.clone();
    let work = async move {
        let image = images.pull(pull, Some(sender)).await.map_err(|error| pull_error(error, &name))?;
        Ok(end_of_pull(&name, before.as_ref(), &image))
    };
    let (known, up_to_date) = (before_digest, AtomicBool::new(false));
    let first = move |step: &Progress| match &step.step {
        // Nothing is fetched: nothing is told of the layers.
        _ if up_to_date.load(Ordering::Relaxed) => None,
        ProgressStep::Resolved(found) => {
            up_to_date.store(known.as_ref() == Some(found), Ordering::Relaxed);
            let text = format!("Pulling from {}", reference.path());
            Some(Line::of(reference.object(), text))
        }
        _ => to_line(step, false),
    };
    answer(work.boxed(), steps, VecDeque::new(), first).await
}

/// Name and tag or digest of a pull, and whether it means every tag of the name: it has neither.
fn pull_reference(image: &str, tag: &str) -> Result<(Reference, bool), ApiError> {
    let reference = repo_or_digest(image)?;
    if reference.path() == "library/scratch" {
        let forbidden = http::StatusCode::FORBIDDEN;
        return Err(ApiError::new(forbidden, "'scratch' is a reserved name"));
    }
    if let Ok(digest) = Digest::parse(tag) {
        return Ok((reference.with_digest(digest), false));
    }
    if !tag.is_empty() {
        let tagged = reference.with_tag(tag).map_err(|_| ApiError::bad_parameter("invalid tag format"));
        return Ok((tagged?, false));
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    let all = reference.digest().is_none() && !last.contains(':');
    Ok((reference, all))
}

fn repo_or_digest(image: &str) -> Result<Reference, ApiError> {
    match Reference::parse_familiar(image) {
        Ok(reference) => Ok(reference),
        // The sentences for what is wrong are in one place.
        Err(_) => repo_tag(image, ""),
    }
}

/// The lines after the last step.
fn end_of_pull(reference: &Reference, before: Option<&Image>, image: &Image) -> Vec<Line> {
    let same = before.is_some_and(|before| before.target.digest == image.target.digest);
    let shown = reference.familiar();
    let status = if same {
        format!("Status: Image is up to date for {shown}")
    } else {
        format!("Status: Downloaded newer image for {shown}")
    };
    vec![Line::status(format!("Digest: {}", image.target.digest)), Line::status(status)]
}

/// dockerd's words for a pull that a registry refuses.
fn pull_error(error: tare_engine::Error, reference: &Reference) -> ApiError {
    let name = reference.familiar_name();
    let object = reference.object();
    match error.kind() {
        // The registry has the name, and not for that platform.
        ErrorKind::NotFound
            if error.detail().contains("platform") || error.detail().contains("manifest list") =>
        {
            let detail = error.detail();
            ApiError::not_found(match detail.starts_with("its platform") {
                true => format!("image with reference {reference} was found but {detail}"),
                false => detail.to_owned(),
            })
        }
        ErrorKind::NotFound => {
            let separator = if reference.digest().is_some() { '@' } else { ':' };
            tracing::debug!(%error, "a registry has no such manifest");
            ApiError::not_found(format!(
                "manifest for {name}{separator}{object} not found: manifest unknown: manifest unknown"
            ))
        }
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => ApiError::not_found(format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': {error}"
        )),
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => ApiError::internal(error.to_string()),
        _ => error.into(),
    }
}

/// `POST /images/{name}/push`.
pub(crate) async fn push(door: &Docker, request: &Request, name: &str) -> Handled {
    let tag = request.query.get("tag");
    let reference = repo_tag(name, tag)?;
    let all = tag.is_empty() && !name.rsplit('/').next().unwrap_or(name).contains(':');
    let credentials = credentials(request);
    let images = door.engine().images();
    let namespace = door.namespace().clone();
    let targets = match all {
        true => all_tags(door, &reference).await?,
        false => vec![reference.clone()],
    };
    let (sender, steps) = mpsc::channel(AHEAD);
    let work = async move {
        let mut lines = Vec::new();
        for target in targets {
            let pushed = images.push(&namespace, &target, credentials.clone(), Some(sender.clone())).await;
            let manifest = pushed.map_err(|error| push_error(error, &target))?;
            let tag = target.tag().unwrap_or("latest").to_owned();
            let digest = manifest.digest.to_string();
            lines.push(Line::status(format!("{tag}: digest: {digest} size: {}", manifest.size)));
            let aux = Aux { tag, digest, size: manifest.size };
            lines.push(Line { aux: Some(aux), ..Line::default() });
        }
        Ok(lines)
    };
    let head = Line::status(format!("The push refers to repository [{}]", reference.name()));
    answer(work.boxed(), steps, VecDeque::from([head]), |step| to_line(step, true)).await
}

/// The names of a repository here, one for each tag.
async fn all_tags(door: &Docker, repository: &Reference) -> Result<Vec<Reference>, ApiError> {
    let name = repository.name();
    let images = door.engine().images().list(door.namespace()).await?;
    let names = images.into_iter().flat_map(|image| image.names);
    let mut tags: Vec<Reference> =
        names.filter(|known| known.name() == name && known.tag().is_some()).collect();
    if tags.is_empty() {
        let shown = repository.familiar_name();
        return Err(ApiError::not_found(format!("An image does not exist locally with the tag: {shown}")));
    }
    tags.sort_by_key(ToString::to_string);
    Ok(tags)
}

fn push_error(error: tare_engine::Error, reference: &Reference) -> ApiError {
    match (error.kind(), error.what()) {
        (ErrorKind::NotFound, "image") => ApiError::not_found(format!(
            "An image does not exist locally with the tag: {}",
            reference.familiar_name()
        )),
        (ErrorKind::Unauthenticated | ErrorKind::PermissionDenied, _) => ApiError::new(
            http::StatusCode::UNAUTHORIZED,
            format!("push access denied, repository does not exist or may require authorization: {error}"),
        ),
        _ => error.into(),
    }
}

/// A pull of every tag that a repository has.
struct AllTags {
    images: Images,
    namespace: Namespace,
    reference: Reference,
    platform: Option<Platform>,
}

impl AllTags {
    async fn answer(self, credentials: Option<Credentials>) -> Handled {
        let tags = self.images.remote_tags(&self.reference, credentials.as_ref()).await;
        let tags = tags.map_err(|error| pull_error(error, &self.reference))?;
        let (sender, lines) = mpsc::channel(AHEAD);
        let work = async move {
            let mut fresh = false;
            for tag in tags {
                // A name that this grammar does not know cannot be asked for either.
                let Ok(reference) = self.reference.with_tag(&tag) else { continue };
                fresh |= self.one(reference, credentials.clone(), &sender).await?;
            }
            let shown = self.reference.familiar_name();
            Ok(vec![Line::status(match fresh {
                true => format!("Status: Downloaded newer image for {shown}"),
                false => format!("Status: Image is up to date for {shown}"),
            })])
        };
        answer(work.boxed(), lines, VecDeque::new(), |line: &Line| Some(line.clone())).await
    }

    /// Pulls one tag and tells of it; whether it was new.
    async fn one(
        &self,
        reference: Reference,
        credentials: Option<Credentials>,
        lines: &mpsc::Sender<Line>,
    ) -> Result<bool, ApiError> {
        let name = reference.to_string();
        let before = self.images.get(&self.namespace, &name).await.ok();
        let before = before.map(|image| image.target.digest);
        let pull = PullRequest {
            namespace: self.namespace.clone(),
            reference: reference.clone(),
            platform: self.platform.clone(),
            credentials,
            snapshotter: None,
        };
        let (sender, mut steps) = mpsc::channel::<Progress>(AHEAD);
        let telling = async {
            let mut known = false;
            while let Some(step) = steps.recv().await {
                let line = match &step.step {
                    _ if known => None,
                    ProgressStep::Resolved(found) => {
                        known = before.as_ref() == Some(found);
                        Some(Line::of(reference.object(), format!("Pulling from {}", reference.path())))
                    }
                    _ => to_line(&step, false),
                };
                if let Some(line) = line {
                    // A client that went away does not stop the pull.
                    let _ = lines.send(line).await;
                }
            }
        };
        let (pulled, ()) = tokio::join!(self.images.pull(pull, Some(sender)), telling);
        let image = pulled.map_err(|error| pull_error(error, &reference))?;
        let _ = lines.send(Line::status(format!("Digest: {}", image.target.digest))).await;
        Ok(before.as_ref() != Some(&image.target.digest))
    }
}

/// `GET /distribution/{name}/json`: what a registry says of a name.
pub(crate) async fn inspect_remote(door: &Docker, request: &Request, name: &str) -> Handled {
    let reference = repo_or_digest(name)?;
    let found = door.engine().images().inspect_remote(&reference, credentials(request).as_ref()).await;
    let found = found.map_err(|error| pull_error(error, &reference))?;
    body::ok(&DistributionInspect { descriptor: found.descriptor, platforms: found.platforms })
}

type Work = BoxFuture<'static, Result<Vec<Line>, ApiError>>;

/// Runs the work while the client reads its steps. Until the first line an error is the answer itself.
async fn answer<T: Send + 'static>(
    mut work: Work,
    mut steps: mpsc::Receiver<T>,
    mut lines: VecDeque<Line>,
    to_line: impl Fn(&T) -> Option<Line> + Send + 'static,
) -> Handled {
    let mut ended = false;
    while lines.is_empty() && !ended {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => lines.extend(to_line(&step)),
            done = &mut work => {
                lines.extend(done?);
                ended = true;
            }
        }
    }
    let state = Stream { work: (!ended).then_some(work), steps, lines, to_line };
    Ok(body::stream("application/json", stream::unfold(state, Stream::next)))
}

/// What is left of a pull or push.
struct Stream<F, T> {
    work: Option<Work>,
    steps: mpsc::Receiver<T>,
    lines: VecDeque<Line>,
    to_line: F,
}

impl<T: Send + 'static, F: Fn(&T) -> Option<Line> + Send + 'static> Stream<F, T> {
    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some((Ok(line.to_bytes()), self));
            }
            let Some(work) = &mut self.work else {
                // Steps that were reported before the end and not read yet come before the last lines.
                return None;
            };
            tokio::select! {
                biased;
                Some(step) = self.steps.recv() => self.lines.extend((self.to_line)(&step)),
                done = work => {
                    self.work = None;
                    while let Ok(step) = self.steps.try_recv() {
                        self.lines.extend((self.to_line)(&step));
                    }
                    match done {
                        Ok(lines) => self.lines.extend(lines),
                        Err(error) => self.lines.push_back(Line::failed(error.message())),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Secret;

    #[test]
    fn references_of_pulls_are_read() {
        let read =
            |image: &str, tag: &str| pull_reference(image, tag).map(|(reference, _)| reference.to_string());
        assert_eq!(read("busybox", "1.36").unwrap(), "docker.io/library/busybox:1.36");
        assert_eq!(read("127.0.0.1:5000/a:b", "").unwrap(), "127.0.0.1:5000/a:b");
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(read("a/b", digest).unwrap(), format!("docker.io/a/b@{digest}"));
        assert!(pull_reference("127.0.0.1:5000/a", "").unwrap().1);
        assert!(!pull_reference("127.0.0.1:5000/a", "latest").unwrap().1);
        assert_eq!(pull_reference("scratch", "latest").unwrap_err().status().as_u16(), 403);
        assert_eq!(
            pull_reference("Busybox", "x").unwrap_err().message(),
            "invalid reference format: repository name (Busybox) must be lowercase"
        );
        assert_eq!(pull_reference("busybox", "a b").unwrap_err().message(), "invalid tag format");
    }

    #[test]
    fn credentials_are_read_in_both_forms() {
        let plain = AuthConfig { username: "u".into(), password: Secret("p".into()), ..Default::default() };
        let packed = AuthConfig { auth: Secret("dTpw".into()), ..Default::default() };
        assert_eq!(to_credentials(plain), to_credentials(packed));
        assert_eq!(to_credentials(AuthConfig::default()), None);
    }
}
