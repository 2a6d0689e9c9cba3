//! Who gets to see what proves us.

use crate::support::{options, read, with_credentials};
use http::Method;
use tare_registry::{Client, Credential, Credentials, Secret};
use tare_testkit::fake_registry::{Act, FakeRegistry, Guard};
use tare_types::{Descriptor, ErrorKind, image::media};

const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

async fn fake() -> FakeRegistry {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("app", "v1", media::OCI_INDEX, INDEX);
    fake
}

fn basic(host: &str) -> Credentials {
    Credentials::for_registry(host, Credential::basic("me", "secret"))
}

#[tokio::test]
async fn basic_is_sent_when_asked_for_and_kept() {
    let fake = fake().await;
    fake.guard(Guard::Basic("me".into(), "secret".into()));
    let repository = with_credentials(&fake.host(), "app", &basic(&fake.host()));
    repository.resolve("v1").await.unwrap();
    repository.resolve("v1").await.unwrap();
    let sent: Vec<bool> = fake.seen().iter().map(|seen| !seen.header("authorization").is_empty()).collect();
    assert_eq!(sent, [false, true, true], "asked once");
    let wrong = Credentials::for_registry(&fake.host(), Credential::basic("me", "wrong"));
    let error = with_credentials(&fake.host(), "app", &wrong).resolve("v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[tokio::test]
async fn a_token_is_fetched_once_for_parallel_requests() {
    let fake = fake().await;
    fake.guard(Guard::Bearer { realm: format!("http://{}/token", fake.host()), token: "t1".into() });
    fake.token_answer(200, r#"{"access_token":"t1","expires_in":300}"#);
    let repository = with_credentials(&fake.host(), "app", &basic(&fake.host()));
    let (a, b, c) =
        tokio::join!(repository.resolve("v1"), repository.resolve("v1"), repository.resolve("v1"));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let tokens = fake.seen_at("/token");
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].header("authorization").starts_with("Basic "));
    assert!(
        tokens[0].target.contains("service=fake") && tokens[0].target.contains("scope=repository:app:pull"),
        "{}",
        tokens[0].target
    );
    assert!(tokens[0].target.contains("account=me"));
}

#[tokio::test]
async fn an_expired_token_is_renewed() {
    let fake = fake().await;
    fake.guard(Guard::Bearer { realm: format!("http://{}/token", fake.host()), token: "old".into() });
    fake.token_answer(200, r#"{"token":"old","expires_in":300}"#);
    let repository = with_credentials(&fake.host(), "app", &Credentials::none());
    repository.resolve("v1").await.unwrap();
    fake.guard(Guard::Bearer { realm: format!("http://{}/token", fake.host()), token: "new".into() });
    fake.token_answer(200, r#"{"token":"new"}"#);
    repository.resolve("v1").await.unwrap();
    let anonymous = fake.seen_at("/token").iter().all(|seen| seen.header("authorization").is_empty());
    assert!(anonymous);
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let fake = fake().await;
    fake.guard(Guard::Bearer { realm: format!("http://{}/token", fake.host()), token: "t".into() });
    fake.token_answer(200, r#"{"access_token":"t"}"#);
    let credentials =
        Credentials::for_registry(&fake.host(), Credential::IdentityToken(Secret::new("re/fresh+")));
    with_credentials(&fake.host(), "app", &credentials).resolve("v1").await.unwrap();
    let seen = &fake.seen_at("/token")[0];
    assert_eq!(seen.method, Method::POST);
    let body = String::from_utf8_lossy(&seen.body).to_string();
    assert!(
        body.contains("grant_type=refresh_token") && body.contains("refresh_token=re/fresh%2B"),
        "{body}"
    );
}

#[tokio::test]
async fn the_token_service_explains_a_refusal() {
    let fake = fake().await;
    fake.guard(Guard::Bearer { realm: format!("http://{}/token", fake.host()), token: "t".into() });
    fake.token_answer(401, r#"{"details":"incorrect username or password"}"#);
    let error = with_credentials(&fake.host(), "app", &basic(&fake.host())).resolve("v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
}

#[tokio::test]
async fn redirects_and_urls_to_strangers_carry_no_credentials() {
    let (registry, stranger) = (fake().await, FakeRegistry::start().await.unwrap());
    registry.guard(Guard::Basic("me".into(), "secret".into()));
    let bytes = vec![7_u8; 1000];
    let digest = stranger.put_blob(bytes.clone());
    let target = format!("http://{}/v2/x/blobs/{digest}?signed=1", stranger.host());
    registry.script(Method::GET, "/blobs/", 0, Act::Silence);
    let repository = with_credentials(&registry.host(), "app", &basic(&registry.host()));
    // Proven first, so that the header is at hand when the redirect comes.
    repository.resolve("v1").await.unwrap();
    let redirect =
        || Act::Answer { status: 307, headers: vec![("location", target.clone())], body: String::new() };
    registry.script(Method::GET, "/blobs/", 1, redirect());
    let mut descriptor = Descriptor::new(media::OCI_LAYER, digest.clone(), 1000);
    assert_eq!(read(&mut repository.fetch_blob(&descriptor, 0).unwrap()).await.unwrap(), bytes);
    assert!(!registry.seen_at("/blobs/")[0].header("authorization").is_empty());
    // A stranger that asks for credentials gets none (CVE-2020-15157), after a redirect or by `urls`.
    stranger.guard(Guard::Bearer { realm: format!("http://{}/token", stranger.host()), token: "t".into() });
    registry.script(Method::GET, "/blobs/", 1, redirect());
    let error = read(&mut repository.fetch_blob(&descriptor, 0).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    descriptor.urls = vec![target.clone()];
    let _ = read(&mut repository.fetch_blob(&descriptor, 0).unwrap()).await.unwrap_err();
    assert!(stranger.seen().len() >= 3);
    for seen in stranger.seen() {
        assert_eq!(seen.header("authorization"), "", "{}", seen.target);
        assert!(!seen.target.contains("/token"), "{}", seen.target);
    }
}

#[tokio::test]
async fn mirrors_do_not_get_the_registrys_credentials() {
    let (origin, mirror) = (fake().await, fake().await);
    for registry in [&origin, &mirror] {
        registry.guard(Guard::Basic("me".into(), "secret".into()));
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(origin.host())).unwrap();
    let text = format!("[host.\"http://{}\"]\n", mirror.host());
    std::fs::write(directory.path().join(origin.host()).join("hosts.toml"), text).unwrap();
    let mut with_hosts = options();
    with_hosts.hosts_directories = vec![directory.path().to_path_buf()];
    let reference = format!("{}/app:v1", origin.host()).parse().unwrap();
    let repository = Client::new(with_hosts).repository(&reference, &basic(&origin.host())).unwrap();
    repository.resolve("v1").await.unwrap();
    assert!(mirror.seen().iter().all(|seen| seen.header("authorization").is_empty()));
    assert!(!mirror.seen().is_empty() && !origin.seen().is_empty());
}

#[tokio::test]
async fn login_checks_with_the_registry() {
    let fake = fake().await;
    let client = Client::new(options());
    fake.guard(Guard::Basic("me".into(), "secret".into()));
    assert!(
        client.login(&fake.host(), Credential::basic("me", "secret")).await.unwrap().identity_token.is_none()
    );
    let error = client.login(&fake.host(), Credential::basic("me", "bad")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    fake.guard(Guard::Bearer { realm: format!("http://{}/token", fake.host()), token: "t".into() });
    fake.token_answer(200, r#"{"token":"t","refresh_token":"r"}"#);
    let login = client.login(&fake.host(), Credential::basic("me", "secret")).await.unwrap();
    assert_eq!(login.identity_token, Some(Secret::new("r")));
    assert!(fake.seen_at("/token")[0].target.contains("offline_token=true"));
    fake.token_answer(401, "{}");
    let error = client.login(&fake.host(), Credential::basic("me", "bad")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}
