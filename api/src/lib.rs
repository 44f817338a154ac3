//! KubeStash resource types, defaulting, validation and phases: pure, no client, no IO.
