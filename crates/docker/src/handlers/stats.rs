//! Resource usage.

use crate::body::{self, Handled};
use crate::convert::stats::to_wire;
use crate::door::Docker;
use crate::request::Request;
use crate::wire::stats::Stats;
use bytes::Bytes;
use futures_util::stream;
use std::time::Duration;
use tare_engine::stats::Sample;
use tare_types::ContainerId;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Time between two samples, as in dockerd.
const PERIOD: Duration = Duration::from_secs(1);

/// `GET /containers/{name}/stats`.
pub(crate) async fn stats(door: &Docker, request: &Request, name: &str) -> Handled {
    let streaming = request.query.flag_or("stream", true);
    let one_shot = request.version.at_least(41) && request.query.flag("one-shot");
    let view = door.engine().containers().get(door.namespace(), name).await?;
    let reader = Reader {
        door: door.clone(),
        id: view.record.id.clone(),
        name: view.record.engine.as_ref().map(|fields| fields.name.clone()).unwrap_or_default(),
    };
    if streaming {
        return Ok(body::stream("application/json", reader.follow()));
    }
    if !view.state.status.is_running() {
        return body::ok(&to_wire(reader.id.as_str(), &reader.name, &Sample::default(), None));
    }
    let first = reader.sample().await?;
    if one_shot {
        return body::ok(&reader.document(&first, None));
    }
    // Usage of the processor is a difference: it takes two samples.
    tokio::time::sleep(PERIOD).await;
    let second = reader.sample().await?;
    body::ok(&reader.document(&second, Some(&first)))
}

struct Reader {
    door: Docker,
    id: ContainerId,
    name: String,
}

impl Reader {
    async fn sample(&self) -> tare_engine::Result<Sample> {
        self.door.engine().stats().sample(self.door.namespace(), self.id.as_str()).await
    }

    fn document(&self, sample: &Sample, before: Option<&Sample>) -> Stats {
        to_wire(self.id.as_str(), &self.name, sample, before)
    }

    /// A line per period until the container is gone or the client is.
    fn follow(self) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        let mut ticks = interval_at(Instant::now(), PERIOD);
        // A client that reads slowly gets fewer lines, not late ones.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = (self, ticks, None::<Sample>);
        stream::unfold(state, |(reader, mut ticks, before)| async move {
            ticks.tick().await;
            // The container is gone: so is its usage.
            let sample = reader.sample().await.ok()?;
            let line = serde_json::to_vec(&reader.document(&sample, before.as_ref()));
            let line = line.map_err(std::io::Error::other).map(|mut line| {
                line.push(b'\n');
                Bytes::from(line)
            });
            Some((line, (reader, ticks, Some(sample))))
        })
    }
}
