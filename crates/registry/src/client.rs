//! What all transfers share, and login.

use crate::{
    ClientOptions, Credential, Credentials, Error, Repository, Result, Secret,
    auth::Authorizer,
    challenge::{Challenge, parse_challenges},
    exchange::{Peer, Question, empty},
    hosts::load_endpoints,
    location::Origin,
    transport::Transport,
};
use http::{HeaderMap, Method, StatusCode};
use std::sync::Arc;
use tare_types::{ErrorKind, Reference};

/// Connections, TLS, deadlines. Cheap to clone; one for a process.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<Transport>,
}

/// The result of a successful login.
#[derive(Debug)]
pub struct Login {
    /// A refresh token of the registry's token service, to be kept instead of the password.
    pub identity_token: Option<Secret>,
}

impl Client {
    /// A client with these options. Connects to nothing yet.
    pub fn new(options: ClientOptions) -> Self {
        Self { transport: Arc::new(Transport::new(options)) }
    }

    /// The repository of a reference, on its mirrors and its registry, as `hosts.toml` and the options say.
    ///
    /// Reads the small files of the hosts directories (blocking).
    ///
    /// # Errors
    /// A broken `hosts.toml`; Unimplemented when only a credential helper knows the credentials.
    pub fn repository(&self, reference: &Reference, credentials: &Credentials) -> Result<Repository> {
        let endpoints = load_endpoints(&self.transport.options, reference.domain())?;
        let credential = credentials.get(reference.domain())?;
        let peers = endpoints.into_iter().map(|endpoint| {
            // A mirror has its own name: it gets what was stored for that, never the registry's.
            let own = if endpoint.origin {
                credential.cloned()
            } else {
                credentials.get(endpoint.host()).ok().flatten().cloned()
            };
            let origin = Origin::of(&endpoint.uri("/", "")).expect("invariant: endpoints are http URLs");
            let authorizer = Authorizer::new(origin, endpoint.tls.clone(), own);
            Peer {
                transport: self.transport.clone(),
                endpoint: Arc::new(endpoint),
                authorizer: Arc::new(authorizer),
                stranger: false,
            }
        });
        Ok(Repository::new(reference, peers.collect()))
    }

    /// Checks a credential with a registry (`docker.io`, `localhost:5000`), as `docker login` does.
    ///
    /// # Errors
    /// Unauthenticated when the registry refuses it; Unavailable when it does not answer.
    pub async fn login(&self, registry: &str, credential: Credential) -> Result<Login> {
        let transport = &self.transport;
        let registry = crate::credentials::normalise_registry(registry);
        let endpoints = load_endpoints(&transport.options, &registry)?;
        let endpoint = endpoints.into_iter().find(|endpoint| endpoint.origin).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "log in to",
                &registry,
                "hosts.toml names no endpoint for the registry itself",
            )
        })?;
        let uri = endpoint.uri("/", "");
        let origin = Origin::of(&uri).expect("invariant: endpoints are http URLs");
        let authorizer = Arc::new(Authorizer::new(origin, endpoint.tls.clone(), Some(credential)));
        let peer = Peer {
            transport: transport.clone(),
            endpoint: Arc::new(endpoint),
            authorizer: authorizer.clone(),
            stranger: false,
        };
        let question = Question {
            what: "log in to",
            object: &registry,
            method: Method::GET,
            uri,
            headers: HeaderMap::new(),
            body: &empty,
            scope: "",
            also: &[StatusCode::UNAUTHORIZED],
            retry: true,
        };
        // The first challenge tells which service can give a refresh token.
        let (_, mut answer) = peer.ask_without_proof(&question).await?;
        let challenges = parse_challenges(answer.headers());
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        if let (StatusCode::UNAUTHORIZED, Some(challenge)) = (answer.status(), bearer) {
            let granted = authorizer.fetch_token(challenge, "", transport, true).await?;
            return Ok(Login { identity_token: granted.refresh });
        }
        if answer.status() != StatusCode::UNAUTHORIZED {
            // A registry without accounts takes any credential.
            return Ok(Login { identity_token: None });
        }
        let (_, checked) = peer.ask(&question).await?;
        answer = checked;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(peer.refused(&question, &mut answer).await);
        }
        Ok(Login { identity_token: None })
    }
}
