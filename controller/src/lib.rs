//! Plans backups and restores from KubeStash resources and hands the work to agents.
