//! Progress of a pull or push: one JSON document per line, and between them what a client must not miss.

use serde::Serialize;
use tare_engine::images::{Progress, ProgressStep};
use tare_types::Digest;

/// One line of the stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub(crate) progress_detail: Option<Detail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) progress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aux: Option<Aux>,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub(crate) error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
}

/// Bytes so far and in all; `{}` for a step without bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Detail {
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) current: u64,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) total: u64,
}

/// What a push made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Aux {
    pub(crate) tag: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// An error inside the stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ErrorDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<u16>,
    pub(crate) message: String,
}

impl Line {
    /// A status without an object.
    pub(crate) fn status(text: impl Into<String>) -> Self {
        Self { status: text.into(), ..Self::default() }
    }

    /// A status of an object.
    pub(crate) fn of(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { status: text.into(), id: id.into(), ..Self::default() }
    }

    /// The end of a stream that failed.
    pub(crate) fn failed(message: &str) -> Self {
        let error_detail = Some(ErrorDetail { code: None, message: message.to_owned() });
        Self { error: message.to_owned(), error_detail, ..Self::default() }
    }

    /// The line with its end, as it is sent.
    pub(crate) fn to_bytes(&self) -> bytes::Bytes {
        let mut line = serde_json::to_vec(self).expect("invariant: strings and numbers always print");
        line.extend_from_slice(b"\r\n");
        line.into()
    }
}

/// The first twelve digits, as people see blobs.
pub(crate) fn short(digest: &Digest) -> &str {
    let hex = digest.as_str().split_once(':').map_or(digest.as_str(), |(_, hex)| hex);
    &hex[..hex.len().min(12)]
}

/// The line of a step; `None` for steps that the caller words itself.
pub(crate) fn to_line(progress: &Progress, pushing: bool) -> Option<Line> {
    let id = short(progress.digest.as_ref()?).to_owned();
    let plain = |status: &str| Line {
        status: status.to_owned(),
        progress_detail: Some(Detail::default()),
        id: id.clone(),
        ..Line::default()
    };
    let bytes = |status: &str, current: u64, total: u64| Line {
        status: status.to_owned(),
        progress_detail: Some(Detail { current, total }),
        progress: bar(current, total),
        id: id.clone(),
        ..Line::default()
    };
    Some(match progress.step {
        ProgressStep::Resolved(_) => return None,
        ProgressStep::Waiting if pushing => plain("Preparing"),
        ProgressStep::Waiting => plain("Pulling fs layer"),
        ProgressStep::Downloading { current, total } => bytes("Downloading", current, total),
        ProgressStep::DownloadComplete => plain("Download complete"),
        ProgressStep::Extracting { current, total } => bytes("Extracting", current, total),
        ProgressStep::PullComplete => plain("Pull complete"),
        ProgressStep::AlreadyExists if pushing => plain("Layer already exists"),
        ProgressStep::AlreadyExists => plain("Already exists"),
        ProgressStep::Pushing { current, total } => bytes("Pushing", current, total),
        ProgressStep::Pushed => plain("Pushed"),
    })
}

/// `[=====>     ]  1.5MB/3MB`, fifty wide, for clients that print it as it is.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return human_size(current);
    }
    let done = usize::try_from(u128::from(current.min(total)) * 50 / u128::from(total))
        .expect("invariant: at most 50");
    let head = if done == 50 { "=".repeat(50) } else { format!("{}>", "=".repeat(done)) };
    format!("[{head:<50}] {:>8}/{}", human_size(current), human_size(total))
}

/// Four digits and a decimal unit, as go-units prints sizes.
pub(crate) fn human_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().expect("invariant: not empty");
    while size >= 1000.0 {
        let Some(next) = units.next() else { break };
        size /= 1000.0;
        unit = next;
    }
    // %.4g
    let digits = match size {
        s if s >= 1000.0 => 0,
        s if s >= 100.0 => 1,
        s if s >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::parse("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap()
    }

    #[test]
    fn steps_read_as_in_docker() {
        let step = |step| to_line(&Progress { digest: Some(digest()), step }, false).unwrap();
        let json = String::from_utf8(step(ProgressStep::PullComplete).to_bytes().to_vec()).unwrap();
        assert_eq!(json, "{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"e3b0c44298fc\"}\r\n");
        let line = step(ProgressStep::Downloading { current: 25, total: 50 });
        assert_eq!(line.progress_detail, Some(Detail { current: 25, total: 50 }));
        assert_eq!(line.progress, format!("[{:<50}]      25B/50B", format!("{}>", "=".repeat(25))));
    }

    #[test]
    fn errors_are_said_twice() {
        let json = serde_json::to_string(&Line::failed("no")).unwrap();
        assert_eq!(json, r#"{"errorDetail":{"message":"no"},"error":"no"}"#);
    }

    #[test]
    fn sizes_have_four_digits() {
        let table = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.234kB"),
            (12_345_678, "12.35MB"),
            (3_500_000_000, "3.5GB"),
        ];
        for (bytes, text) in table {
            assert_eq!(human_size(bytes), text);
        }
    }
}
