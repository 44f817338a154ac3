//! An in-process Kubernetes API, enough to run controller and agents without a cluster.
