//! Who asks a registry, in the words of the registry client.

use super::Credentials;
use tare_registry::{Credential, Credentials as Known, Secret};

/// The credential for a registry, if there is any.
pub(super) fn for_registry(domain: &str, credentials: Option<&Credentials>) -> Known {
    match credentials.and_then(credential) {
        Some(credential) => Known::for_registry(domain, credential),
        None => Known::none(),
    }
}

/// The strongest of the given ones: a ready token, a refresh token, name and password.
pub(super) fn credential(given: &Credentials) -> Option<Credential> {
    if !given.registry_token.is_empty() {
        return Some(Credential::RegistryToken(Secret::new(&given.registry_token)));
    }
    if !given.identity_token.is_empty() {
        return Some(Credential::IdentityToken(Secret::new(&given.identity_token)));
    }
    let named = !given.username.is_empty() || !given.password.is_empty();
    named.then(|| Credential::basic(&given.username, &given.password))
}
