//! What the tests share: a client with short pauses, references, reading a stream to its end.

use std::time::Duration;
use tare_registry::{BlobStream, Client, ClientOptions, Credentials, Deadlines, Repository, Result, Retries};
use tare_types::Reference;

/// Short waits: faults are scripted, nothing has to be given time to recover.
pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        deadlines: Deadlines {
            connect: Duration::from_secs(5),
            tls: Duration::from_secs(5),
            response_header: Duration::from_millis(500),
            progress: Duration::from_millis(300),
        },
        retries: Retries {
            attempts: 3,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(10),
            longest_retry_after: Duration::from_secs(2),
        },
        ..ClientOptions::default()
    }
}

pub(crate) fn repository(host: &str, name: &str) -> Repository {
    with_credentials(host, name, &Credentials::none())
}

pub(crate) fn with_credentials(host: &str, name: &str, credentials: &Credentials) -> Repository {
    let reference = Reference::parse_familiar(&format!("{host}/{name}")).unwrap();
    Client::new(options()).repository(&reference, credentials).unwrap()
}

pub(crate) async fn read(stream: &mut BlobStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next_chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Bytes that do not repeat at block borders.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
