use super::*;

fn options(directory: &Path) -> ClientOptions {
    ClientOptions { hosts_directories: vec![directory.to_path_buf()], ..ClientOptions::default() }
}

fn write(directory: &Path, host: &str, name: &str, text: &str) {
    std::fs::create_dir_all(directory.join(host)).unwrap();
    std::fs::write(directory.join(host).join(name), text).unwrap();
}

fn shown(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(|e| format!("{}{}", e.uri("/", ""), if e.origin { " origin" } else { "" })).collect()
}

#[test]
fn without_files_the_registry_itself_is_asked() {
    let plain = ClientOptions { plain_http: vec!["10.0.0.1".into()], ..ClientOptions::default() };
    let first = |domain: &str| shown(&load_endpoints(&plain, domain).unwrap()).join(" | ");
    assert_eq!(first("docker.io"), "https://registry-1.docker.io/v2/ origin");
    assert_eq!(first("localhost:5000"), "http://localhost:5000/v2/ origin");
    assert_eq!(first("[::1]:5000"), "http://[::1]:5000/v2/ origin");
    assert_eq!(first("127.0.0.1"), "http://127.0.0.1/v2/ origin");
    assert_eq!(first("localhost:443"), "https://localhost:443/v2/ origin");
    assert_eq!(first("10.0.0.1:5000"), "http://10.0.0.1:5000/v2/ origin");
    assert_eq!(first("ghcr.io"), "https://ghcr.io/v2/ origin");
}

#[test]
fn hub_mirrors_come_first_and_are_not_pushed_to() {
    let options =
        ClientOptions { hub_mirrors: vec!["http://mirror:5000".into()], ..ClientOptions::default() };
    let endpoints = load_endpoints(&options, "docker.io").unwrap();
    assert_eq!(shown(&endpoints), ["http://mirror:5000/v2/", "https://registry-1.docker.io/v2/ origin"]);
    assert!(!endpoints[0].capabilities().push);
    assert_eq!(load_endpoints(&options, "ghcr.io").unwrap().len(), 1);
}

#[test]
fn mirrors_keep_the_order_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"
server = "https://registry-1.docker.io"
[host."https://zz.example"]
  capabilities = ["pull", "resolve"]
  [host."https://zz.example".header]
    X-One = "1"
    X-Two = ["a", "b"]
[host."http://aa.example:8080/hub/v2"]
  capabilities = ["pull"]
  override_path = true
  skip_verify = true
  ca = "ca.pem"
  client = [["c.cert", "c.key"], ["d.pem", ""]]
"#;
    write(directory.path(), "docker.io", "hosts.toml", text);
    let endpoints = load_endpoints(&options(directory.path()), "docker.io").unwrap();
    assert_eq!(
        shown(&endpoints),
        [
            "https://zz.example/v2/",
            "http://aa.example:8080/hub/v2/",
            "https://registry-1.docker.io/v2/ origin"
        ]
    );
    assert!(!endpoints[1].capabilities.resolve && endpoints[0].capabilities.resolve);
    assert_eq!(endpoints[0].headers.get_all("x-two").iter().count(), 2);
    assert!(endpoints[1].tls.skip_verify);
    assert_eq!(endpoints[1].tls.authorities, [directory.path().join("docker.io/ca.pem")]);
    assert_eq!(endpoints[1].tls.clients.len(), 2);
}

#[test]
fn directories_are_tried_from_special_to_general() {
    let directory = tempfile::tempdir().unwrap();
    let first = |domain: &str| shown(&load_endpoints(&options(directory.path()), domain).unwrap())[0].clone();
    write(directory.path(), "_default", "hosts.toml", "[host.\"https://any.example\"]\n");
    assert_eq!(first("reg.example:5000"), "https://any.example/v2/");
    write(directory.path(), "reg.example:5000", "hosts.toml", "server = \"http://reg.example:5000\"\n");
    assert_eq!(first("reg.example:5000"), "http://reg.example:5000/v2/ origin");
    write(directory.path(), "reg.example_5000_", "hosts.toml", "server = \"http://other.example\"\n");
    assert_eq!(first("reg.example:5000"), "http://other.example/v2/");
}

#[test]
fn docker_certificate_directories_work() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "localhost:5000", "ca.crt", "");
    let endpoints = load_endpoints(&options(directory.path()), "localhost:5000").unwrap();
    assert_eq!(shown(&endpoints), ["https://localhost:5000/v2/ origin"]);
    assert_eq!(endpoints[0].tls.authorities.len(), 1);
}

#[test]
fn a_broken_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for text in ["server = ", "capabilities = [\"fly\"]", "[host.\"ftp://x\"]", "[header]\n\"a b\" = \"1\""] {
        write(directory.path(), "x.example", "hosts.toml", text);
        let error = load_endpoints(&options(directory.path()), "x.example").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}: {error}");
    }
}
