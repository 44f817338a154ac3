//! What the kubelet and a driver say to each other, as compiled from `proto/`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

pub(crate) mod csi {
    tonic::include_proto!("csi.v1");
}
