//! What is stored: blobs, packs, index, states, leases, snapshots, keys. Knows nothing of Kubernetes.
