//! Changes of a container's record and limits: rename, update.

use crate::{
    Any, Engine, Result,
    any::RESOURCES_TYPE_URL,
    clock,
    containers::UpdateContainer,
    entry::Entry,
    lifecycle::{exit, stop},
    naming,
    request::{Resources, RestartPolicy},
    spec,
};
use std::sync::Arc;

/// Gives a container another name: durable before the old one is free.
pub(crate) async fn rename(engine: &Engine, entry: &Arc<Entry>, name: &str) -> Result<()> {
    let name = naming::check_name(name)?;
    let _turn = entry.turn.lock().await;
    let mut record = (*entry.record()).clone();
    let fields = record.engine.as_mut().ok_or_else(|| stop::foreign("rename", entry))?;
    let old = std::mem::replace(&mut fields.name, name.to_owned());
    if old == name {
        return Err(stop::precondition(
            "rename",
            entry,
            "renaming a container with the same name as its current name",
        ));
    }
    let roster = &engine.inner().roster;
    roster.reserve(&entry.key.namespace, name, &entry.key.id)?;
    record.updated_at = clock::now();
    let record = Arc::new(record);
    if let Err(error) = engine.stores().save(record.clone()).await {
        roster.release(&entry.key.namespace, name);
        return Err(error);
    }
    entry.set_record(record);
    roster.release(&entry.key.namespace, &old);
    engine.publish_with(entry, stop::action(entry, "rename"), &[("oldName", format!("/{old}"))]);
    Ok(())
}

/// Changes limits and restart policy; the kernel first, so that a refused value is not recorded.
pub(crate) async fn update(
    engine: &Engine,
    entry: &Arc<Entry>,
    change: UpdateContainer,
) -> Result<Vec<String>> {
    let _turn = entry.turn.lock().await;
    let mut record = (*entry.record()).clone();
    let fields = record.engine.as_mut().ok_or_else(|| stop::foreign("update", entry))?;
    if let Some(resources) = change.resources {
        merge(&mut fields.resources, &resources);
        let limits = spec::limits(&fields.resources)?;
        if let Some(task) = entry.running_task() {
            let value = serde_json::to_vec(&limits).expect("invariant: limits are plain data");
            let any = Any::new(RESOURCES_TYPE_URL, value);
            task.shim.update(&entry.key.id, any, Default::default()).await?;
        }
        spec::set_limits(&mut record, &limits)?;
    }
    let fields = record.engine.as_mut().expect("invariant: checked above");
    if let Some(restart) = change.restart {
        if fields.auto_remove && restart != RestartPolicy::No {
            let detail = "restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(stop::precondition("update", entry, detail));
        }
        fields.restart = restart;
        if restart == RestartPolicy::No {
            exit::cancel_restart(entry);
        }
        if entry.running_task().is_some() {
            fields.desired = crate::record::Desired::Running;
        }
    }
    record.updated_at = clock::now();
    let record = Arc::new(record);
    engine.stores().save(record.clone()).await?;
    entry.set_record(record);
    engine.publish(entry, stop::action(entry, "update"));
    Ok(Vec::new())
}

/// Puts the given limits over the present ones.
fn merge(present: &mut Resources, given: &Resources) {
    fn number<T: Copy + PartialEq + Default>(present: &mut Option<T>, given: Option<T>) {
        if let Some(value) = given.filter(|value| *value != T::default()) {
            *present = Some(value);
        }
    }
    number(&mut present.memory, given.memory);
    number(&mut present.memory_reservation, given.memory_reservation);
    number(&mut present.memory_swap, given.memory_swap);
    number(&mut present.nano_cpus, given.nano_cpus);
    number(&mut present.cpu_shares, given.cpu_shares);
    number(&mut present.cpu_period, given.cpu_period);
    number(&mut present.cpu_quota, given.cpu_quota);
    number(&mut present.cpu_realtime_period, given.cpu_realtime_period);
    number(&mut present.cpu_realtime_runtime, given.cpu_realtime_runtime);
    number(&mut present.pids_limit, given.pids_limit);
    number(&mut present.blkio_weight, given.blkio_weight);
    for (present, given) in
        [(&mut present.cpuset_cpus, &given.cpuset_cpus), (&mut present.cpuset_mems, &given.cpuset_mems)]
    {
        if !given.is_empty() {
            present.clone_from(given);
        }
    }
}
