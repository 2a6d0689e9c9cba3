use super::*;
use std::io::{Read, Write};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn binding(protocol: &str, host_ip: &str, host_port: u16, container_port: u16) -> PortBinding {
    PortBinding {
        protocol: protocol.into(),
        host_ip: host_ip.into(),
        host_port: host_port.into(),
        host_port_end: 0,
        container_ip: "127.0.0.1".into(),
        container_port: container_port.into(),
    }
}

/// Something that answers in upper case.
async fn echo() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut text = Vec::new();
                stream.read_to_end(&mut text).await.unwrap();
                stream.write_all(&text.to_ascii_uppercase()).await.unwrap();
            });
        }
    });
    port
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.write_all(b"hello")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn tcp_is_carried_from_both_families_until_released() {
    let target = echo().await;
    let ports = Ports::default();
    let bound = ports.bind("a", &[binding("tcp", "", 0, target)]).unwrap();
    let port = bound[0].host_port as u16;
    assert!(bound.iter().all(|bound| bound.host_port == u32::from(port)), "one port for all families");
    assert_eq!(ask(([127, 0, 0, 1], port).into()).await.unwrap(), "HELLO");
    if bound.len() == 2 {
        assert_eq!(ask((std::net::Ipv6Addr::LOCALHOST, port).into()).await.unwrap(), "HELLO");
    }
    ports.release("a");
    ports.release("a");
    // The task that held the socket ends in its own turn.
    while ask(([127, 0, 0, 1], port).into()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    ports.bind("b", &[binding("tcp", "", port, target)]).unwrap();
}

#[tokio::test]
async fn udp_answers_find_their_client() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = server.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        while let Ok((length, from)) = server.recv_from(&mut buffer).await {
            server.send_to(&buffer[..length].to_ascii_uppercase(), from).await.unwrap();
        }
    });
    let ports = Ports::default();
    let bound = ports.bind("a", &[binding("udp", "127.0.0.1", 0, target)]).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], bound[0].host_port as u16).into();
    let clients = [
        tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    ];
    for (client, text) in clients.iter().zip(["one", "two"]) {
        client.send_to(text.as_bytes(), address).await.unwrap();
    }
    for (client, text) in clients.iter().zip(["ONE", "TWO"]) {
        let mut buffer = [0; 100];
        let received = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await;
        assert_eq!(&buffer[..received.unwrap().unwrap()], text.as_bytes());
    }
}

#[tokio::test]
async fn a_port_in_use_is_said_so_and_nothing_is_held() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let ports = Ports::default();
    let wanted = [binding("tcp", "127.0.0.1", 0, 80), binding("tcp", "127.0.0.1", taken_port, 80)];
    let status = ports.bind("a", &wanted).unwrap_err();
    assert_eq!(status.kind, ErrorKind::AlreadyExists);
    assert!(status.message.contains("address already in use"), "{status}");
    assert!(ports.held().get("a").is_none());
}

#[tokio::test]
async fn a_range_gives_the_first_free_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let first = taken.local_addr().unwrap().port();
    let mut range = binding("tcp", "127.0.0.1", first, 80);
    range.host_port_end = u32::from(first).saturating_add(20).min(65535);
    let bound = Ports::default().bind("a", &[range]).unwrap();
    assert!(bound[0].host_port > u32::from(first));
}

#[tokio::test]
async fn bindings_that_make_no_sense_are_refused() {
    let ports = Ports::default();
    let mut far = binding("tcp", "", 1, 80);
    far.host_port = 70_000;
    for bad in [
        binding("icmp", "", 0, 80),
        binding("sctp", "", 0, 80),
        binding("tcp", "nowhere", 0, 80),
        binding("tcp", "", 0, 0),
        far,
    ] {
        assert_eq!(
            ports.bind("a", std::slice::from_ref(&bad)).unwrap_err().kind,
            ErrorKind::InvalidArgument,
            "{bad:?}"
        );
    }
    let foreign = binding("tcp", "192.0.2.1", 0, 80);
    assert!(ports.bind("a", &[foreign]).unwrap_err().message.contains("cannot assign requested address"));
}
