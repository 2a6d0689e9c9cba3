//! More labels for content that is there, inside a transaction with other changes.

use crate::{Error, Labels, Result, Tables as _, WriteTx};
use tare_types::{Digest, Namespace, Timestamp};

/// Adds labels to a blob of the namespace or replaces those of the same name. Writes nothing when nothing changes.
///
/// # Errors
/// `NotFound`; `InvalidArgument` for a label that is too long.
pub fn extend_labels(
    tx: &WriteTx,
    namespace: &Namespace,
    digest: &Digest,
    labels: &Labels,
    now: Timestamp,
) -> Result<()> {
    let row = tx.content(namespace, digest)?;
    let mut row = row.ok_or_else(|| Error::not_found("label content", digest))?;
    if labels.iter().all(|(key, value)| row.labels.get(key) == Some(value)) {
        return Ok(());
    }
    crate::labels::check(labels)?;
    row.labels.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    row.updated_at = now;
    tx.put_content(namespace, &row)
}
