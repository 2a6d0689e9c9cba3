//! `logs`.

use crate::args::LogsArgs;
use crate::command::session::write_all;
use crate::failure::Failure;
use crate::view::human::{now, parse_moment};
use crate::wire::client::{Client, flag, with_query};
use crate::wire::frames::{FrameDecoder, Stream};
use hyper::Method;

/// A moment flag as the API takes it.
pub(crate) fn moment(flag_name: &str, text: Option<&str>) -> Result<Option<String>, Failure> {
    text.map(|text| {
        parse_moment(text, now()).ok_or_else(|| {
            Failure::new(format!(
                "invalid value for \"{flag_name}\": failed to parse value as time or duration: \"{text}\""
            ))
        })
    })
    .transpose()
}

/// `logs`
pub(crate) async fn run(client: &Client, args: &LogsArgs) -> Result<(), Failure> {
    let info = client.get(&format!("/containers/{}/json", args.name)).await?;
    let tty = info["Config"]["Tty"].as_bool().unwrap_or(false);
    let path = with_query(
        &format!("/containers/{}/logs", info["Id"].as_str().unwrap_or(&args.name)),
        &[
            ("stdout", flag(true)),
            ("stderr", flag(true)),
            ("follow", flag(args.follow)),
            ("timestamps", flag(args.timestamps)),
            ("details", flag(args.details)),
            ("tail", Some(args.tail.clone())),
            ("since", moment("since", args.since.as_deref())?),
            ("until", moment("until", args.until.as_deref())?),
        ],
    );
    let mut stream = client.stream(Method::GET, &path, &[]).await?;
    let mut decoder = FrameDecoder::default();
    while let Some(bytes) = stream.next().await? {
        if tty {
            write_all(Stream::Out, &bytes)?;
            continue;
        }
        decoder.push(&bytes);
        while let Some((stream, bytes)) = decoder.next() {
            write_all(stream, &bytes)?;
        }
    }
    Ok(())
}
