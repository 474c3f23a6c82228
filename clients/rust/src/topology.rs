//! Where the partitions of a broker are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use corelane_wire::names::DEFAULT_TENANT;
use corelane_wire::{Lane, Metadata, PartitionId, partition_of};

/// The places of all partitions, as the broker told them last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Topology {
    /// Where its ports are; `None` where they are mere names.
    pub(crate) host: Option<IpAddr>,
    pub(crate) metadata: Metadata,
}

impl Topology {
    /// The partition of a lane; `None` if the broker named no partition at all.
    pub(crate) fn partition(&self, tenant: &str, queue: &str, lane: Lane) -> Option<PartitionId> {
        let count = u32::try_from(self.metadata.partitions.len()).ok()?;
        let tenant = if tenant.is_empty() {
            DEFAULT_TENANT
        } else {
            tenant
        };
        (count > 0).then(|| partition_of(tenant, queue, lane, count))
    }

    /// The port of the shard that owns a partition.
    pub(crate) fn port(&self, partition: PartitionId) -> Option<u16> {
        let places = &self.metadata.partitions;
        let place = places.iter().find(|place| place.partition == partition)?;
        (place.port != 0).then_some(place.port)
    }

    /// All ports at which shards answer.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let places = self.metadata.partitions.iter();
        places.map(|place| place.port).collect()
    }
}
