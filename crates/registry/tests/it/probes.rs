//! What a `hosts.toml` says holds on the wire; which token is asked for what; pauses that a registry names as a date.

use crate::support::{options, read, repository};
use http::Method;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tare_registry::{Client, Credential, Credentials, Repository};
use tare_testkit::fake_registry::{Act, FakeRegistry, Guard};
use tare_types::{Descriptor, Reference, Timestamp, image::media};

const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

async fn fake() -> FakeRegistry {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("app", "v1", media::OCI_INDEX, INDEX);
    fake
}

/// A repository of `origin` as a hosts.toml describes it. The directory has to live as long.
fn described(origin: &FakeRegistry, text: &str) -> (Repository, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(origin.host())).unwrap();
    std::fs::write(directory.path().join(origin.host()).join("hosts.toml"), text).unwrap();
    let mut with_hosts = options();
    with_hosts.hosts_directories = vec![directory.path().to_path_buf()];
    let reference = Reference::parse_familiar(&format!("{}/app:v1", origin.host())).unwrap();
    (Client::new(with_hosts).repository(&reference, &Credentials::none()).unwrap(), directory)
}

#[tokio::test]
async fn a_mirror_is_asked_for_what_it_may_do() {
    let (origin, mirror) = (fake().await, fake().await);
    let digest = mirror.put_blob(vec![1_u8; 100]);
    origin.put_blob(vec![1_u8; 100]);
    let host = mirror.host();
    let (repository, _kept) =
        described(&origin, &format!("[host.\"http://{host}\"]\n  capabilities = [\"pull\"]\n"));
    repository.resolve("v1").await.unwrap();
    assert!(mirror.seen().is_empty(), "its tags are not trusted");
    let descriptor = Descriptor::new(media::OCI_LAYER, digest.clone(), 100);
    read(&mut repository.fetch_blob(&descriptor, 0).unwrap()).await.unwrap();
    assert_eq!(mirror.seen_at("/blobs/").len(), 1);
    assert!(origin.seen_at("/blobs/").is_empty());

    let mirror = fake().await;
    mirror.put_blob(vec![1_u8; 100]);
    let host = mirror.host();
    let (repository, _kept) =
        described(&origin, &format!("[host.\"http://{host}\"]\n  capabilities = [\"resolve\"]\n"));
    repository.resolve("v1").await.unwrap();
    assert_eq!(mirror.seen_at("/manifests/").len(), 1);
    read(&mut repository.fetch_blob(&descriptor, 0).unwrap()).await.unwrap();
    assert!(mirror.seen_at("/blobs/").is_empty(), "it may only resolve");
}

#[tokio::test]
async fn a_mirror_without_the_object_is_passed_over() {
    for status in [404, 403, 500, 503] {
        let (origin, mirror) = (fake().await, fake().await);
        let digest = origin.put_blob(vec![1_u8; 100]);
        mirror.put_blob(vec![1_u8; 100]);
        for method in [Method::HEAD, Method::GET] {
            let refusal = Act::Answer { status, headers: vec![], body: String::new() };
            mirror.script(method, "/", 99, refusal);
        }
        let (repository, _kept) = described(&origin, &format!("[host.\"http://{}\"]\n", mirror.host()));
        repository.resolve("v1").await.unwrap_or_else(|error| panic!("{status}: {error}"));
        let descriptor = Descriptor::new(media::OCI_LAYER, digest, 100);
        let bytes = read(&mut repository.fetch_blob(&descriptor, 0).unwrap()).await;
        assert_eq!(bytes.unwrap_or_else(|error| panic!("{status}: {error}")).len(), 100);
        assert!(!mirror.seen_at("/manifests/").is_empty() && !origin.seen_at("/blobs/").is_empty());
    }
}

#[tokio::test]
async fn headers_and_paths_of_the_file_are_sent() {
    let (origin, mirror) = (fake().await, fake().await);
    let host = mirror.host();
    // Under a path of its own the mirror has nothing: the registry answers.
    let text = format!(
        "[host.\"http://{host}/hub\"]\n  override_path = true\n  [host.\"http://{host}/hub\".header]\n    X-Team = [\"a\", \"b\"]\n"
    );
    let (repository, _kept) = described(&origin, &text);
    repository.resolve("v1").await.unwrap();
    let seen = mirror.seen();
    assert!(seen[0].target.starts_with("/hub/app/manifests/v1?ns="), "{}", seen[0].target);
    let team: Vec<_> = seen[0].headers.get_all("x-team").iter().collect();
    assert_eq!(team, ["a", "b"]);
    assert!(origin.seen().iter().all(|seen| !seen.headers.contains_key("x-team")));
    // `server` is another place: the name in the reference is asked nothing.
    let (origin, server) = (fake().await, fake().await);
    let (repository, _kept) = described(&origin, &format!("server = \"http://{}\"\n", server.host()));
    repository.resolve("v1").await.unwrap();
    assert!(origin.seen().is_empty() && !server.seen().is_empty());
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_scope_of_the_work() {
    let fake = fake().await;
    fake.guard(Guard::Bearer { realm: format!("http://{}/token", fake.host()), token: "t".into() });
    fake.token_answer(200, r#"{"token":"t","expires_in":300}"#);
    let credentials = Credentials::for_registry(&fake.host(), Credential::basic("me", "secret"));
    let repository = crate::support::with_credentials(&fake.host(), "team/app", &credentials);
    let _unknown = repository.resolve("v1").await.unwrap_err();
    let descriptor =
        Descriptor::new(media::OCI_INDEX, tare_types::Digest::of_bytes(INDEX), INDEX.len() as u64);
    repository.push_document(&descriptor, bytes::Bytes::from_static(INDEX), Some("v2")).await.unwrap();
    let scopes: Vec<String> = fake.seen_at("/token").iter().map(|seen| seen.target.clone()).collect();
    let plain = |text: &str| text.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    assert!(plain(&scopes[0]).contains("scope=repository:team/app:pull"), "{scopes:?}");
    assert!(!plain(&scopes[0]).contains("push"), "no more than the work needs: {scopes:?}");
    assert!(scopes.iter().any(|scope| plain(scope).contains("repository:team/app:pull,push")), "{scopes:?}");
}

#[tokio::test]
async fn a_pause_may_be_named_as_a_date() {
    let fake = fake().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (year, month, day, hour, minute, second) = Timestamp::new(now as i64 + 2, 0).civil();
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][((now + 2) / 86_400 % 7) as usize];
    let name = names[month as usize - 1];
    let date = format!("{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT");
    let busy = Act::Answer { status: 429, headers: vec![("retry-after", date)], body: String::new() };
    fake.script(Method::HEAD, "/manifests/", 1, busy);
    let begun = std::time::Instant::now();
    repository(&fake.host(), "app").resolve("v1").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
}
