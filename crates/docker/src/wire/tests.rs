use super::container::CreateRequest;
use super::*;

/// What docker-py sends: nulls for everything unset, a command as a string.
#[test]
fn nulls_are_zero_values() {
    let text = r#"{"Hostname":null,"User":null,"Tty":false,"Image":"busybox","Cmd":"true","Env":null,
        "Volumes":{"/data":null},"ExposedPorts":{"80/tcp":{},"53/udp":null},"StopSignal":null,"NetworkDisabled":false,
        "HostConfig":{"NetworkMode":"bridge","PortBindings":{"80/tcp":null,"53/udp":[{"HostIp":"","HostPort":null}]},
        "Memory":1048576,"CapAdd":null},"NetworkingConfig":null}"#;
    let request: CreateRequest = parse(text.as_bytes()).unwrap();
    assert_eq!(request.config.cmd.as_slice(), ["true"]);
    assert!(request.config.volumes.unwrap().contains_key("/data"));
    assert_eq!(request.config.exposed_ports.unwrap().len(), 2);
    let host = request.host_config.unwrap();
    assert_eq!(host.resources.memory, 1_048_576);
    let ports = host.port_bindings.unwrap();
    assert_eq!(ports["80/tcp"], None);
    assert_eq!(ports["53/udp"].as_ref().unwrap()[0].host_port, "");
}

#[test]
fn a_wrong_type_is_refused_wherever_it_stands() {
    for text in [
        r#"{"Image":1}"#,
        r#"{"HostConfig":{"Memory":"1g"}}"#,
        r#"{"HostConfig":{"Binds":"a:b"}}"#,
        r#"{"Labels":["a"]}"#,
        r#"{"Image":"#,
    ] {
        assert!(parse::<CreateRequest>(text.as_bytes()).is_err(), "{text}");
    }
}

/// Members and their order as `docker inspect` of dockerd 28 prints them.
#[test]
fn host_config_prints_in_dockerds_order() {
    let printed = serde_json::to_string(&super::host_config::HostConfig::default()).unwrap();
    let expected = r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":null},"NetworkMode":"","PortBindings":null,"RestartPolicy":{"Name":"","MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":null,"BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteIOps":null,"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":null,"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"OomKillDisable":null,"PidsLimit":null,"Ulimits":null,"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null}"#;
    assert_eq!(printed, expected);
}

#[test]
fn secrets_are_not_printed() {
    let auth = super::system::AuthConfig {
        username: "me".into(),
        password: Secret("hunter2".into()),
        ..Default::default()
    };
    let shown = format!("{auth:?}");
    assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
}
