//! Who we are at which registry: Docker's `config.json` and `X-Registry-Auth`, as values.
//!
//! Credential helpers (`credsStore`, `credHelpers`) are other programs; they are not run here. A registry
//! whose credentials only a helper knows is an error by name, never a silent fallback (CVE-2021-41092).

use crate::{Error, Result};
use base64::{
    Engine as _, alphabet, engine::general_purpose::GeneralPurpose,
    engine::general_purpose::GeneralPurposeConfig,
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};
use tare_types::ErrorKind;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A password or token: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for whoever keeps it.
    pub fn into_text(self) -> String {
        self.0
    }

    /// The secret itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// What proves who we are at one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Name and password, for Basic or for the token service.
    Basic {
        /// The name.
        username: String,
        /// The password or access token.
        password: Secret,
    },
    /// A refresh token of the registry's token service (OAuth 2).
    IdentityToken(Secret),
    /// A ready bearer token for the registry.
    RegistryToken(Secret),
}

impl Credential {
    /// Name and password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Basic { username: username.into(), password: Secret::new(password) }
    }
}

/// Credentials by registry. A lookup never gives one registry's credentials to another.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    entries: BTreeMap<String, Credential>,
    helpers: BTreeMap<String, String>,
    default_helper: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, AuthEntry>,
    #[serde(rename = "credsStore")]
    creds_store: String,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    username: String,
    password: String,
    auth: String,
    #[serde(alias = "serverAddress")]
    serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

impl AuthEntry {
    fn credential(&self) -> std::result::Result<Option<Credential>, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::RegistryToken(Secret::new(&self.registrytoken))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(Secret::new(&self.identitytoken))));
        }
        if !self.username.is_empty() || !self.password.is_empty() {
            return Ok(Some(Credential::basic(&self.username, &self.password)));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let bytes = decode_base64(&self.auth).ok_or("the auth field is not base64")?;
        let text = String::from_utf8(bytes).map_err(|_| "the auth field is not text")?;
        let (username, password) = text.split_once(':').ok_or("the auth field has no colon")?;
        Ok(Some(Credential::basic(username, password.trim_end_matches('\0'))))
    }
}

impl Credentials {
    /// No credentials: anonymous access.
    pub fn none() -> Self {
        Self::default()
    }

    /// One credential for one registry (`docker.io`, `localhost:5000`).
    pub fn for_registry(registry: &str, credential: Credential) -> Self {
        let mut credentials = Self::default();
        credentials.entries.insert(normalise_registry(registry), credential);
        credentials
    }

    /// Parses the contents of Docker's `config.json`.
    ///
    /// # Errors
    /// InvalidArgument when it is not such a document.
    pub fn parse_docker_config(text: &[u8]) -> Result<Self> {
        let invalid = |detail: String| {
            Error::new(ErrorKind::InvalidArgument, "parse", "docker credentials file", detail)
        };
        let config: DockerConfig = serde_json::from_slice(text).map_err(|e| invalid(e.to_string()))?;
        let mut credentials = Self::default();
        for (key, entry) in &config.auths {
            let found = entry.credential().map_err(|reason| invalid(format!("auths {key:?}: {reason}")))?;
            if let Some(credential) = found {
                credentials.entries.insert(normalise_registry(key), credential);
            }
        }
        for (key, helper) in config.cred_helpers {
            credentials.helpers.insert(normalise_registry(&key), helper);
        }
        credentials.default_helper = Some(config.creds_store).filter(|store| !store.is_empty());
        Ok(credentials)
    }

    /// Parses the Docker API's `X-Registry-Auth` header (base64url of JSON) for an image of `registry`.
    ///
    /// A `serveraddress` in it binds the credential to that registry; without one it belongs to `registry`.
    /// An empty header or object means anonymous access.
    ///
    /// # Errors
    /// InvalidArgument when it is neither base64 nor such JSON.
    pub fn parse_registry_auth(header: &str, registry: &str) -> Result<Self> {
        let invalid = |detail: String| {
            Error::new(ErrorKind::InvalidArgument, "parse", "X-Registry-Auth header", detail)
        };
        let header = header.trim();
        if header.is_empty() {
            return Ok(Self::none());
        }
        let bytes = decode_base64(header).ok_or_else(|| invalid("it is not base64".into()))?;
        let entry: Option<AuthEntry> =
            serde_json::from_slice(&bytes).map_err(|e| invalid(format!("it is not JSON: {e}")))?;
        let Some(entry) = entry else { return Ok(Self::none()) };
        let found = entry.credential().map_err(|reason| invalid(reason.into()))?;
        let server = if entry.serveraddress.is_empty() { registry } else { &entry.serveraddress };
        Ok(found.map_or_else(Self::none, |credential| Self::for_registry(server, credential)))
    }

    /// The credential for a registry.
    ///
    /// # Errors
    /// Unimplemented when only a credential helper program knows it.
    pub fn get(&self, registry: &str) -> Result<Option<&Credential>> {
        let key = normalise_registry(registry);
        let helper = self.helpers.get(&key).or(self.default_helper.as_ref());
        match (self.entries.get(&key), helper) {
            (Some(credential), _) => Ok(Some(credential)),
            (None, None) => Ok(None),
            (None, Some(helper)) => Err(Error::new(
                ErrorKind::Unimplemented,
                "look up credentials for",
                key,
                format!("credential helper {helper:?} is configured and helpers are not implemented"),
            )),
        }
    }
}

/// `https://index.docker.io/v1/`, `registry-1.docker.io` → `docker.io`; elsewhere the host with its port.
pub(crate) fn normalise_registry(text: &str) -> String {
    let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = text.split('/').next().unwrap_or(text).to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".to_string(),
        _ => host,
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_config_is_keyed_by_host() {
        let text = br#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},
            "localhost:5000":{"username":"a","password":"b"},
            "ghcr.io":{"identitytoken":"refresh"},"empty.example":{}},
            "credHelpers":{"x.example":"pass"}}"#;
        let found = Credentials::parse_docker_config(text).unwrap();
        assert_eq!(found.get("docker.io").unwrap(), Some(&Credential::basic("user", "pa:ss")));
        assert_eq!(found.get("localhost:5000").unwrap(), Some(&Credential::basic("a", "b")));
        assert_eq!(found.get("localhost").unwrap(), None, "another port is another registry");
        assert_eq!(found.get("empty.example").unwrap(), None);
        assert_eq!(found.get("x.example").unwrap_err().kind(), ErrorKind::Unimplemented);
        assert!(matches!(found.get("ghcr.io").unwrap(), Some(Credential::IdentityToken(_))));
    }

    #[test]
    fn a_missing_helper_fails_closed() {
        let found = Credentials::parse_docker_config(br#"{"credsStore":"desktop"}"#).unwrap();
        assert!(found.get("docker.io").unwrap_err().to_string().contains("desktop"));
    }

    #[test]
    fn registry_auth_header_binds_to_its_server() {
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE.encode(text);
        let parse = |text: &str| Credentials::parse_registry_auth(&encode(text), "localhost:5000").unwrap();
        let plain = parse(r#"{"username":"a","password":"ö?>"}"#);
        assert_eq!(plain.get("localhost:5000").unwrap(), Some(&Credential::basic("a", "ö?>")));
        let other = parse(r#"{"username":"a","password":"b","serveraddress":"https://index.docker.io/v1/"}"#);
        assert_eq!(other.get("localhost:5000").unwrap(), None);
        assert!(other.get("docker.io").unwrap().is_some());
        for empty in ["{}", "null", r#"{"auth":""}"#] {
            assert!(parse(empty).get("localhost:5000").unwrap().is_none(), "{empty}");
        }
        assert!(Credentials::parse_registry_auth("*", "x").is_err());
        assert!(Credentials::parse_registry_auth(&encode("[1]"), "x").is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{:?}", Credential::basic("name", "hunter2"));
        assert!(text.contains("name") && !text.contains("hunter2"), "{text}");
    }
}
