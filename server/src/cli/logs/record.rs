//! A record of a log in JSON.

use corelane_core::{Change, QueueId, Record, Trimmed};
use corelane_storage::{BlockSite, RecordView};
use corelane_wire::{
    Aside, Batch, Fate, Offset, OffsetRange, Overflow, QueueConfig, ReturnTo, SettleEntry, Storage,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::shown::Shown;

/// A line of a dump.
#[derive(Serialize)]
pub(super) struct RecordLine {
    partition: u32,
    lsn: u64,
    time_ns: u64,
    epoch: u64,
    segment: u32,
    /// Of the block that holds the record.
    position: u64,
    kind: &'static str,
    /// What it says; an enqueue's messages apart.
    fields: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Shown>,
}

impl RecordLine {
    pub(super) fn new(view: &RecordView<'_>, site: BlockSite) -> Self {
        let (kind, fields, messages) = match Record::decode(view.kind, view.payload) {
            Ok(record) => (name(&record), fields(&record), messages(view, &record)),
            Err(error) => {
                let fields = json!({"number": view.kind, "error": error.to_string()});
                ("unknown", fields, Vec::new())
            }
        };
        Self {
            partition: site.partition.0,
            lsn: view.lsn.0,
            time_ns: view.time.0,
            epoch: view.epoch.0,
            segment: site.segment.0,
            position: site.position,
            kind,
            fields,
            messages,
        }
    }
}

/// The messages of an enqueue or a relocation, as `corelane dump` shows them.
fn messages(view: &RecordView<'_>, record: &Record) -> Vec<Shown> {
    let (first, enqueued) = if let Record::Relocate {
        first, enqueued, ..
    } = record
    {
        (first, *enqueued)
    } else if let Record::Enqueue { first, .. } = record {
        (first, view.time)
    } else {
        return Vec::new();
    };
    let Ok(batch) = Batch::trusted(view.batch()) else {
        return Vec::new();
    };
    let offsets = (first.0..).map(Offset);
    let messages = offsets.zip(batch.iter().map_while(Result::ok));
    messages
        .map(|(offset, message)| {
            let headers: Vec<_> = message.headers().collect();
            Shown::new(offset, enqueued, message.key, &headers, message.body)
        })
        .collect()
}

fn name(record: &Record) -> &'static str {
    match record {
        Record::Epoch { .. } => "epoch",
        Record::Create { .. } => "create",
        Record::Enqueue { .. } => "enqueue",
        Record::Lease { .. } => "lease",
        Record::Take { .. } => "take",
        Record::Ack { .. } => "ack",
        Record::Nack { .. } => "nack",
        Record::Extend { .. } => "extend",
        Record::Tick => "tick",
        Record::Release { .. } => "release",
        Record::Delete { .. } => "delete",
        Record::ConfigureQueue { .. } => "queue_configure",
        Record::Trim { .. } => "trim",
        Record::Subscribe { .. } => "subscribe",
        Record::Relocate { .. } => "relocate",
        Record::Reject { .. } => "reject",
        Record::Reschedule { .. } => "reschedule",
        Record::Change { change, .. } => match change {
            Change::Configure(_) => "configure",
            Change::Pause { .. } => "pause",
            Change::Return { .. } => "return",
            Change::Purge(_) => "purge",
            Change::Seek { .. } => "seek",
            Change::Unsubscribe => "unsubscribe",
            Change::DeadLetters { .. } => "dead_letters",
            Change::Forward { .. } => "forward",
            Change::Forwarded { .. } => "forwarded",
        },
    }
}

fn fields(record: &Record) -> Value {
    match record {
        Record::Epoch { epoch, jump_ns } => json!({"epoch": epoch.0, "jump_ns": jump_ns}),
        Record::Create { queue, name } => json!({"queue": queue.0, "name": name}),
        Record::Enqueue { .. } | Record::Relocate { .. } => fields_of_batch(record),
        Record::Lease {
            queue,
            subscription,
            session,
            lease_ms,
            ranges,
        } => json!({"queue": queue.0, "subscription": subscription.0, "session": hex(session.0),
            "lease_ms": lease_ms, "ranges": ranges.iter().map(range).collect::<Vec<_>>()}),
        Record::Take {
            queue,
            subscription,
            ranges,
        } => json!({"queue": queue.0, "subscription": subscription.0,
            "ranges": ranges.iter().map(range).collect::<Vec<_>>()}),
        Record::Ack { .. }
        | Record::Nack { .. }
        | Record::Reject { .. }
        | Record::Extend { .. } => fields_of_settlement(record),
        Record::Tick => json!({}),
        Record::Release { session } => json!({"session": hex(session.0)}),
        Record::Delete { queue } => json!({"queue": queue.0}),
        Record::ConfigureQueue { queue, config } => fields_of_queue(*queue, config),
        Record::Trim { queue, end, how } => {
            let are_dead = *how == Trimmed::Dead;
            json!({"queue": queue.0, "end": end.0, "dead": are_dead})
        }
        Record::Reschedule { queue, due, ranges } => json!({"queue": queue.0,
            "due_ns": due.map(|due| due.0), "ranges": ranges.iter().map(range).collect::<Vec<_>>()}),
        Record::Subscribe {
            queue,
            subscription,
            name,
            from,
        } => {
            json!({"queue": queue.0, "subscription": subscription.0, "name": name, "from": from.0})
        }
        Record::Change {
            queue,
            subscription,
            change,
        } => {
            let mut fields = fields_of(change);
            fields["queue"] = queue.0.into();
            fields["subscription"] = subscription.0.into();
            fields
        }
    }
}

/// Of an enqueue or a relocation.
fn fields_of_batch(record: &Record) -> Value {
    if let Record::Relocate {
        queue,
        first,
        count,
        bytes,
        largest: _,
        enqueued,
    } = record
    {
        return json!({"queue": queue.0, "first": first.0, "count": count, "bytes": bytes,
            "enqueued_ns": enqueued.0});
    }
    let Record::Enqueue {
        queue,
        first,
        count,
        bytes,
        largest: _,
        producer,
        sequence,
        schedule,
    } = record
    else {
        return json!({});
    };
    let scheduled = schedule.iter().flatten();
    let scheduled = scheduled
        .map(|each| json!({"index": each.index, "count": each.count, "due_ns": each.due.0, "ttl_ms": each.ttl_ms}));
    json!({"queue": queue.0, "first": first.0, "count": count, "bytes": bytes,
        "producer": hex(producer.0), "sequence": sequence.0,
        "scheduled": scheduled.collect::<Vec<_>>()})
}

fn fields_of_queue(queue: QueueId, config: &QueueConfig) -> Value {
    json!({"queue": queue.0, "retention_ms": config.retention_ms,
        "retention_bytes": config.retention_bytes, "retention_count": config.retention_count,
        "messages_max": config.messages_max, "bytes_max": config.bytes_max,
        "overflow": overflow_name(config.overflow), "ttl_ms": config.ttl_ms,
        "slow_down_at": config.slow_down_at, "storage": storage_name(config.storage)})
}

fn fields_of_settlement(record: &Record) -> Value {
    let mut fields = json!({});
    if let Record::Nack {
        delay_ms,
        count_attempt,
        ..
    } = record
    {
        fields = json!({"delay_ms": delay_ms, "count_attempt": count_attempt});
    }
    if let Record::Reject { fate, text, .. } = record {
        fields = json!({"fate": fate_name(*fate), "text": text});
    }
    if let Record::Extend { lease_ms, .. } = record {
        fields = json!({"lease_ms": lease_ms});
    }
    if let Record::Ack {
        queue,
        subscription,
        entries,
    }
    | Record::Nack {
        queue,
        subscription,
        entries,
        ..
    }
    | Record::Reject {
        queue,
        subscription,
        entries,
        ..
    }
    | Record::Extend {
        queue,
        subscription,
        entries,
        ..
    } = record
    {
        fields["queue"] = queue.0.into();
        fields["subscription"] = subscription.0.into();
        fields["entries"] = settled(entries).into();
    }
    fields
}

fn fields_of(change: &Change) -> Value {
    match change {
        Change::Configure(config) => json!({"contract": config.contract.as_u8(),
            "returned_back": config.returned == ReturnTo::Back,
            "in_flight_max": config.in_flight_max, "rate_max": config.rate_max,
            "attempts_max": config.attempts_max, "backoff_ms": config.backoff_ms,
            "backoff_max_ms": config.backoff_max_ms}),
        Change::Pause { reason } => json!({"paused": reason.is_some(), "reason": reason}),
        Change::Return { aside, ranges } => {
            let from = match aside {
                Aside::Dead => "dead",
                Aside::Parked => "parked",
            };
            json!({"from": from, "ranges": ranges.iter().map(range).collect::<Vec<_>>()})
        }
        Change::Purge(states) => {
            json!({"waiting": states.waiting, "parked": states.parked, "dead": states.dead})
        }
        Change::Seek { from } => json!({"from": from.0}),
        Change::Unsubscribe => json!({}),
        Change::DeadLetters { to } => json!({"to": to}),
        Change::Forward { range: of } => json!({"range": range(of)}),
        Change::Forwarded { arrived } => json!({"arrived": arrived}),
    }
}

const fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Retry => "retry",
        Fate::Dead => "dead",
        Fate::Park => "park",
    }
}

fn range(range: &OffsetRange) -> Value {
    json!({"first": range.first.0, "count": range.count})
}

fn settled(entries: &[SettleEntry]) -> Vec<Value> {
    let entry = |entry: &SettleEntry| {
        json!({"epoch": entry.lease.epoch.0, "lsn": entry.lease.lsn.0,
            "first": entry.range.first.0, "count": entry.range.count})
    };
    entries.iter().map(entry).collect()
}

fn hex(id: u128) -> String {
    format!("{id:032x}")
}

const fn overflow_name(overflow: Overflow) -> &'static str {
    match overflow {
        Overflow::Refuse => "refuse",
        Overflow::DropOldest => "drop-oldest",
        Overflow::Dead => "dead",
    }
}

const fn storage_name(storage: Storage) -> &'static str {
    match storage {
        Storage::Durable => "durable",
        Storage::Memory => "memory",
    }
}
