//! Data at rest: content, snapshots, layers, metadata, leases, garbage collection.
