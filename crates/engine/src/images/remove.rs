//! Removing names and images, with Docker's rules about what is in the way.

use super::{
    finish::{keep_untagged, untagged_name},
    lookup::{self, Named, chain_keys, id_digits},
    *,
};
use std::collections::BTreeSet;
use tare_store::{ReadTx, Tables as _};
use tare_types::ContainerId;

/// A container that was made from an image.
#[derive(Debug, Clone)]
struct User {
    id: ContainerId,
    running: bool,
}

/// One removal.
struct Removal<'a> {
    namespace: &'a Namespace,
    reference: &'a str,
    force: bool,
    group: Vec<&'a Named>,
    users: Vec<User>,
}

/// What a removal will do.
#[derive(Debug, Default)]
struct Decision {
    /// Names that go.
    names: Vec<String>,
    /// Whether the content goes with them; else it stays untagged.
    delete: bool,
    report: Vec<Removed>,
}

/// Removes a name, and the image with its last one.
pub(super) fn remove(
    engine: &Engine,
    namespace: &Namespace,
    reference: &str,
    force: bool,
    running: &BTreeSet<ContainerId>,
) -> Result<Vec<Removed>> {
    let tx = engine.stores().metadata.read()?;
    let all = lookup::named(engine, namespace, &tx)?;
    let group = lookup::find(&all, reference)?;
    let users = users(&tx, namespace, &all, &group[0].loaded.id, running)?;
    let decision = Removal { namespace, reference, force, group: group.clone(), users }.decide(&tx)?;
    drop(tx);
    apply(engine, namespace, &group, &decision)?;
    Ok(decision.report)
}

fn apply(engine: &Engine, namespace: &Namespace, group: &[&Named], decision: &Decision) -> Result<()> {
    let now = now();
    engine.stores().metadata.update(|tx| {
        for name in &decision.names {
            if let (false, Some(row)) = (decision.delete, tx.image(namespace, name)?) {
                keep_untagged(tx, namespace, &row, now)?;
            }
            tx.remove_image(namespace, name)?;
        }
        if decision.delete {
            for named in group {
                tx.remove_image(namespace, &untagged_name(&named.row.target.digest))?;
            }
        }
        Ok(())
    })?;
    engine.image_state().forget();
    for name in &decision.names {
        let body = crate::events::Body::ImageDeleted { name: name.clone() };
        engine.events().publish(namespace, now, body, Arc::default());
    }
    for removed in &decision.report {
        let (action, id) = match removed {
            Removed::Untagged(_) => ("untag", group[0].loaded.id.to_string()),
            Removed::Deleted(id) => ("delete", id.to_string()),
        };
        let body = crate::events::Body::Action { kind: "image", action: action.to_string(), id: id.clone() };
        let attributes = Arc::new(BTreeMap::from([("name".to_string(), id)]));
        engine.events().publish(namespace, now, body, attributes);
    }
    Ok(())
}

impl Removal<'_> {
    fn id(&self) -> &Digest {
        &self.group[0].loaded.id
    }

    /// All names but the hidden one.
    fn visible(&self) -> impl Iterator<Item = &Named> {
        self.group.iter().copied().filter(|named| !is_hidden(&named.row.name))
    }

    fn decide(&self, tx: &ReadTx) -> Result<Decision> {
        let by_id = id_digits(self.reference).is_some_and(|hex| self.id().hex().starts_with(hex))
            && !self.visible().any(|named| is_called(&named.row.name, self.reference));
        let mut decision = Decision::default();
        if by_id {
            if !self.is_single() && !self.force {
                return Err(self.conflict(
                    "delete",
                    "must be forced",
                    "image is referenced in multiple repositories",
                ));
            }
            self.check_users()?;
            self.take_all(tx, &mut decision)?;
            return Ok(decision);
        }
        let tag = self.named_row()?;
        if !self.force
            && self.is_single()
            && let Some(user) = self.users.first()
        {
            let detail = format!(
                "unable to remove repository reference {:?} (must force) - container {} is using its referenced image {}",
                self.reference,
                short(user.id.as_str()),
                self.id().short()
            );
            return Err(self.in_the_way(detail));
        }
        decision.take(&tag.row.name);
        let repository = Reference::parse(&tag.row.name).map(|name| name.name()).unwrap_or_default();
        let same_repository =
            |named: &&Named| Reference::parse(&named.row.name).is_ok_and(|name| name.name() == repository);
        let rest: Vec<&Named> = self.visible().filter(|named| named.row.name != tag.row.name).collect();
        let tags_left = rest.iter().copied().filter(same_repository).any(|named| is_tagged(&named.row.name));
        if !tags_left {
            decision.untag_digest(self.namespace, tx, tag)?;
            for named in rest.iter().copied().filter(same_repository) {
                decision.take(&named.row.name);
            }
        }
        if rest.iter().all(|named| decision.names.contains(&named.row.name)) {
            // A running container keeps the image, without a name.
            decision.delete =
                !self.users.iter().any(|user| user.running) && (self.force || self.users.is_empty());
            if decision.delete {
                decision.report.push(Removed::Deleted(self.id().clone()));
            }
        }
        Ok(decision)
    }

    /// The row that the reference names.
    fn named_row(&self) -> Result<&Named> {
        let exact = self.visible().find(|named| is_called(&named.row.name, self.reference));
        let by_digest = || {
            let wanted = Reference::parse_familiar(self.reference).ok()?;
            self.visible().find(|named| {
                Reference::parse(&named.row.name).is_ok_and(|name| name.name() == wanted.name())
            })
        };
        exact.or_else(by_digest).ok_or_else(|| Error::not_found("remove", "image", self.reference))
    }

    /// At most one tag, and all names in one repository.
    fn is_single(&self) -> bool {
        let names: Vec<Reference> =
            self.visible().filter_map(|named| Reference::parse(&named.row.name).ok()).collect();
        let repositories: BTreeSet<String> = names.iter().map(Reference::name).collect();
        repositories.len() <= 1 && names.iter().filter(|name| name.digest().is_none()).count() <= 1
    }

    fn check_users(&self) -> Result<()> {
        if let Some(user) = self.users.iter().find(|user| user.running) {
            let why = format!("image is being used by running container {}", short(user.id.as_str()));
            return Err(self.conflict("delete", "cannot be forced", &why));
        }
        match self.users.first().filter(|_| !self.force) {
            Some(user) => {
                let why = format!("image is being used by stopped container {}", short(user.id.as_str()));
                Err(self.conflict("delete", "must be forced", &why))
            }
            None => Ok(()),
        }
    }

    fn take_all(&self, tx: &ReadTx, decision: &mut Decision) -> Result<()> {
        for named in self.visible() {
            decision.take(&named.row.name);
            decision.untag_digest(self.namespace, tx, named)?;
        }
        decision.delete = true;
        decision.report.push(Removed::Deleted(self.id().clone()));
        Ok(())
    }

    fn conflict(&self, verb: &str, force: &str, why: &str) -> Error {
        self.in_the_way(format!("unable to {verb} {} ({force}) - {why}", self.id().short()))
    }

    fn in_the_way(&self, detail: String) -> Error {
        Error::new(ErrorKind::FailedPrecondition, "remove", "image", self.reference, detail)
    }
}

impl Decision {
    fn take(&mut self, name: &str) {
        if self.names.iter().any(|taken| taken == name) {
            return;
        }
        let shown =
            Reference::parse(name).map_or_else(|_| name.to_string(), |reference| reference.familiar());
        self.names.push(name.to_string());
        self.report.push(Removed::Untagged(shown));
    }

    /// Docker also reports `name@digest` that it knows from the registry.
    fn untag_digest(&mut self, namespace: &Namespace, tx: &ReadTx, named: &Named) -> Result<()> {
        let Ok(reference) = Reference::parse(&named.row.name) else { return Ok(()) };
        let digest = &named.row.target.digest;
        let row = tx.content(namespace, digest)?;
        if row.is_some_and(|row| super::labels::came_from(&row.labels, &reference)) {
            let removed = Removed::Untagged(reference.with_digest(digest.clone()).familiar());
            if !self.report.contains(&removed) {
                self.report.push(removed);
            }
        }
        Ok(())
    }
}

fn short(id: &str) -> &str {
    &id[..id.len().min(12)]
}

fn is_tagged(name: &str) -> bool {
    Reference::parse(name).is_ok_and(|name| name.tag().is_some())
}

fn is_called(name: &str, reference: &str) -> bool {
    name == reference || Reference::parse_familiar(reference).is_ok_and(|parsed| stored_name(&parsed) == name)
}

/// The containers made from an image: by the id in the engine's record, else by the name in the row.
fn users(
    tx: &ReadTx,
    namespace: &Namespace,
    all: &[Named],
    id: &Digest,
    running: &BTreeSet<ContainerId>,
) -> Result<Vec<User>> {
    let mut found = Vec::new();
    for row in tx.containers(namespace)? {
        let record: Option<crate::ContainerRecord> = serde_json::from_slice(&row.record).ok();
        let used = match record.and_then(|record| record.engine) {
            Some(fields) => fields.image_id == *id,
            None => all.iter().any(|named| named.row.name == row.image && named.loaded.id == *id),
        };
        if used {
            found.push(User { running: running.contains(&row.id), id: row.id });
        }
    }
    // A running one is the stronger reason.
    found.sort_by_key(|user| !user.running);
    Ok(found)
}

/// Removes what no container uses: untagged images, with `tagged` all. Gives the report and the bytes that go.
pub(super) fn prune(
    engine: &Engine,
    namespace: &Namespace,
    tagged: bool,
    running: &BTreeSet<ContainerId>,
) -> Result<(Vec<Removed>, u64)> {
    let tx = engine.stores().metadata.read()?;
    let all = lookup::named(engine, namespace, &tx)?;
    let ids: BTreeSet<&Digest> = all.iter().map(|named| &named.loaded.id).collect();
    let (mut report, mut gone, mut kept) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for id in ids {
        let group: Vec<&Named> = all.iter().filter(|named| named.loaded.id == *id).collect();
        let users = users(&tx, namespace, &all, id, running)?;
        let dangling = group.iter().all(|named| is_hidden(&named.row.name));
        let keys = chain_keys(&group[0].loaded.config)?;
        if !users.is_empty() || !(dangling || tagged) {
            kept.extend(keys);
            continue;
        }
        gone.extend(keys);
        let removal = Removal { namespace, reference: id.as_str(), force: true, group: group.clone(), users };
        let mut decision = Decision::default();
        removal.take_all(&tx, &mut decision)?;
        apply(engine, namespace, &group, &decision)?;
        report.extend(decision.report);
    }
    let mut bytes = 0;
    for key in gone.difference(&kept) {
        let row = tx.snapshot(namespace, &engine.config().snapshotter, key)?;
        bytes += row.map_or(0, |row| row.usage.bytes);
    }
    Ok((report, bytes))
}
