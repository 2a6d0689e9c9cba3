use super::*;

fn bind(text: &str) -> Result<MountRequest, String> {
    parse_bind(text, "").map_err(|error| error.message().to_owned())
}

#[test]
fn binds_are_read() {
    let request = bind("/a/../b://c/:ro,rslave").unwrap();
    assert_eq!(request.source, MountSource::Bind { path: "/b".into(), create: true, non_recursive: false });
    assert_eq!((request.target.as_str(), request.read_only), ("/c", true));
    assert_eq!(request.propagation.as_deref(), Some("rslave"));
    let MountSource::Volume { name, no_copy, .. } = bind("data:/d:nocopy").unwrap().source else { panic!() };
    assert_eq!((name.as_deref(), no_copy), (Some("data"), true));
    let MountSource::Volume { name, .. } = bind("/only").unwrap().source else { panic!() };
    assert_eq!(name, None);
}

#[test]
fn bad_binds_are_refused_in_dockerds_words() {
    let table = [
        ("", "invalid volume specification: ''"),
        (":/a", "invalid volume specification: ':/a'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("a:/b:c:d", "invalid volume specification: 'a:/b:c:d'"),
        ("/a:/b:rw,ro", "invalid mode: rw,ro"),
        ("/a:/b:x", "invalid mode: x"),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
        ),
        (
            "/a:b",
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
        ),
    ];
    for (text, message) in table {
        assert_eq!(bind(text).unwrap_err(), message);
    }
}

fn mount(json: &str) -> Result<MountRequest, String> {
    parse_mount(&crate::wire::parse(json.as_bytes()).unwrap()).map_err(|error| error.message().to_owned())
}

#[test]
fn mounts_are_read() {
    let request =
        mount(r#"{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1024,"Mode":448}}"#).unwrap();
    assert_eq!(request.source, MountSource::Tmpfs { size: Some(1024), mode: Some(0o700), options: vec![] });
    let request = mount(r#"{"Type":"bind","Source":"/s","Target":"/t","ReadOnly":true}"#).unwrap();
    assert_eq!(request.source, MountSource::Bind { path: "/s".into(), create: false, non_recursive: false });
    assert!(request.read_only);
    let request = mount(
        r#"{"Type":"volume","Source":"v","Target":"/t","VolumeOptions":{"NoCopy":true,"DriverConfig":{"Name":"local","Options":{"a":"b"}}}}"#,
    )
    .unwrap();
    let MountSource::Volume { name, driver, driver_options, no_copy, .. } = request.source else { panic!() };
    assert_eq!((name.as_deref(), driver.as_str(), no_copy), (Some("v"), "local", true));
    assert_eq!(driver_options["a"], "b");
}

#[test]
fn bad_mounts_are_refused_in_dockerds_words() {
    let table = [
        (
            r#"{"Type":"bind","Source":"/a"}"#,
            "invalid mount config for type \"bind\": field Target must not be empty",
        ),
        (
            r#"{"Type":"bind","Target":"/a"}"#,
            "invalid mount config for type \"bind\": field Source must not be empty",
        ),
        (
            r#"{"Type":"tmpfs","Target":"/a","Source":"x"}"#,
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ),
        (r#"{"Type":"x","Target":"/a"}"#, "invalid mount config for type \"x\": mount type unknown"),
        (
            r#"{"Type":"volume","Target":"/a","BindOptions":{}}"#,
            "invalid mount config for type \"volume\": field BindOptions must not be specified",
        ),
    ];
    for (json, message) in table {
        assert_eq!(mount(json).unwrap_err(), message);
    }
}

#[test]
fn a_target_occurs_once_and_a_configured_volume_gives_way() {
    let config: Config = crate::wire::parse(br#"{"Volumes":{"/data":{},"/other/":{}}}"#).unwrap();
    let host: HostConfig =
        crate::wire::parse(br#"{"Binds":["/x:/data"],"Tmpfs":{"/run":"size=64m,mode=755,noexec"}}"#).unwrap();
    let requests = to_requests(&config, &host).unwrap();
    let targets: Vec<&str> = requests.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/data", "/run", "/other"]);
    assert_eq!(
        requests[1].source,
        MountSource::Tmpfs { size: Some(64 << 20), mode: Some(0o755), options: vec!["noexec".into()] }
    );
    let twice: HostConfig = crate::wire::parse(br#"{"Binds":["/x:/data","/y:/data/"]}"#).unwrap();
    let error = to_requests(&Config::default(), &twice).unwrap_err();
    assert_eq!(error.message(), "Duplicate mount point: /data");
}

#[test]
fn modes_are_kept_for_inspection() {
    let host: HostConfig = crate::wire::parse(br#"{"Binds":["/a:/b:ro,z","v:/c","/d:/e"]}"#).unwrap();
    let modes = bind_modes(&host);
    assert_eq!((modes["/b"].as_str(), modes["/c"].as_str(), modes["/e"].as_str()), ("ro,z", "z", ""));
}
