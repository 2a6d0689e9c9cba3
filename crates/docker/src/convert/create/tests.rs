use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use tare_types::image::{ImageConfig, Manifest};
use tare_types::{ChainId, Descriptor, Digest, Timestamp};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn image() -> Image {
    let digest = Digest::parse(DIGEST).unwrap();
    let descriptor = Descriptor::new("application/vnd.oci.image.manifest.v1+json", digest.clone(), 1);
    let config: ImageConfig = serde_json::from_str(
        r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers"}}"#,
    )
    .unwrap();
    Image {
        id: digest.clone(),
        names: vec![],
        repo_digests: vec![],
        target: descriptor.clone(),
        manifest: Arc::new(Manifest {
            schema_version: 2,
            media_type: String::new(),
            config: descriptor,
            layers: vec![],
            annotations: BTreeMap::new(),
        }),
        manifest_digest: digest.clone(),
        config: Arc::new(config),
        chain_id: ChainId(Digest::parse(DIGEST).unwrap()),
        size: 0,
        stored_at: Timestamp::new(0, 0),
        labels: BTreeMap::new(),
    }
}

fn create(json: &str) -> Result<CreateContainer, String> {
    let defaults = Defaults { log: LogConfig::default(), cgroup_v2: false };
    let context = Context {
        version: ApiVersion::MAX,
        name: Some("web"),
        platform: None,
        defaults: &defaults,
        cpus: 2,
        online: ("0-1", "0"),
        block_weight: true,
    };
    to_request(crate::wire::parse(json.as_bytes()).unwrap(), &image(), &context)
        .map(|(request, _)| request)
        .map_err(|error| error.message().to_owned())
}

#[test]
fn a_request_is_translated_and_kept() {
    let request = create(
        r#"{"Image":"busybox","Cmd":["echo","a b"],"Env":["A=1"],"Tty":true,"Labels":{"x":"y"},"StopTimeout":3,
            "HostConfig":{"Memory":67108864,"AutoRemove":true,"Init":true,"ShmSize":1024,
              "PortBindings":{"80/tcp":[{"HostPort":"8080"}]},"LogConfig":{"Type":"none"}}}"#,
    )
    .unwrap();
    assert_eq!((request.image.as_str(), request.name.as_deref()), ("busybox", Some("web")));
    assert_eq!(request.process.args, ["echo", "a b"]);
    assert!(request.process.tty && request.auto_remove && request.init);
    assert_eq!((request.stop_timeout, request.shm_size), (Some(3), Some(1024)));
    assert_eq!(request.network.ports[0].host_ports, (8080, 8080));
    assert_eq!(request.log.unwrap().driver, "none");
    let kept: Extension = crate::wire::parse(&request.extensions[DOCKER_EXTENSION].value).unwrap();
    assert_eq!(kept.config.env.unwrap(), ["A=1", "PATH=/bin"]);
    assert_eq!(kept.host_config.resources.memory_swap, 134_217_728);
}

#[test]
fn bad_requests_are_refused_in_dockerds_words() {
    let table = [
        (r#"{"WorkingDir":"x"}"#, "the working directory 'x' is invalid, it needs to be an absolute path"),
        (r#"{"Env":["=x"]}"#, "invalid environment variable: =x"),
        (
            r#"{"HostConfig":{"RestartPolicy":{"Name":"sometimes"}}}"#,
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            r#"{"HostConfig":{"RestartPolicy":{"Name":"always","MaximumRetryCount":3}}}"#,
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            r#"{"HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}}"#,
            "can't create 'AutoRemove' container with restart policy",
        ),
        (r#"{"HostConfig":{"LogConfig":{"Type":"x"}}}"#, "logger: no log driver named 'x' is registered"),
        (
            r#"{"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"a":"b"}}}}"#,
            "unknown log opt 'a' for json-file log driver",
        ),
        (r#"{"HostConfig":{"ShmSize":-1}}"#, "SHM size can not be less than 0"),
    ];
    for (json, message) in table {
        assert_eq!(create(json).unwrap_err(), message);
    }
}

#[test]
fn names_follow_dockers_grammar() {
    assert!(is_name("web") && is_name("/web") && is_name("a_.-9"));
    assert!(!is_name("a") && !is_name("") && !is_name("-ab") && !is_name("a b") && !is_name("//ab"));
}

#[test]
fn an_image_without_a_command_needs_one() {
    let mut image = image();
    image.config = Arc::new(ImageConfig::default());
    let defaults = Defaults { log: LogConfig::default(), cgroup_v2: false };
    let context = Context {
        version: ApiVersion::MAX,
        name: None,
        platform: None,
        defaults: &defaults,
        cpus: 2,
        online: ("0-1", "0"),
        block_weight: true,
    };
    let error = to_request(CreateRequest::default(), &image, &context).unwrap_err();
    assert_eq!(error.message(), "no command specified");
}
