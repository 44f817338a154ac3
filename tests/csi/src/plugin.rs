//! What the kubelet asks for: who this is, and mounts.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use tonic::{Request, Response, Status};

use crate::contract::csi::node_service_capability::{Rpc, Type as NodeType, rpc};
use crate::contract::csi::plugin_capability::{Service, Type as PluginType, service};
use crate::contract::csi::volume_capability::AccessType;
use crate::contract::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
    NodeServiceCapability, NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, PluginCapability, ProbeRequest, ProbeResponse, Topology, VolumeCapability,
    identity_server::Identity, node_server::Node,
};
use crate::files::Files;
use crate::{DRIVER, TOPOLOGY_KEY, mounts};

/// The volume's size, among what its PersistentVolume carries to the kubelet.
pub(crate) const BYTES: &str = "bytes";

type Answer<T> = Result<Response<T>, Status>;

/// One node's driver.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    node: String,
    files: Files,
}

impl Plugin {
    pub(crate) fn new(node: String, files: Files) -> Self {
        Self { node, files }
    }
}

fn failed(volume: &str) -> impl Fn(io::Error) -> Status + '_ {
    move |error| {
        tracing::warn!(volume, %error, "a request fails");
        Status::internal(format!("volume {volume}: {error}"))
    }
}

fn is_file_system(capability: Option<&VolumeCapability>) -> Result<(), Status> {
    match capability.and_then(|capability| capability.access_type.as_ref()) {
        Some(AccessType::Block(_)) => Err(Status::invalid_argument("raw block volumes are not provided")),
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl Identity for Plugin {
    async fn get_plugin_info(&self, _: Request<GetPluginInfoRequest>) -> Answer<GetPluginInfoResponse> {
        Ok(Response::new(GetPluginInfoResponse { name: DRIVER.into(), vendor_version: env!("CARGO_PKG_VERSION").into() }))
    }

    async fn get_plugin_capabilities(&self, _: Request<GetPluginCapabilitiesRequest>) -> Answer<GetPluginCapabilitiesResponse> {
        let service = Service { r#type: service::Type::VolumeAccessibilityConstraints.into() };
        let capabilities = vec![PluginCapability { r#type: Some(PluginType::Service(service)) }];
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Answer<ProbeResponse> {
        Ok(Response::new(ProbeResponse {}))
    }
}

#[tonic::async_trait]
impl Node for Plugin {
    async fn node_stage_volume(&self, request: Request<NodeStageVolumeRequest>) -> Answer<NodeStageVolumeResponse> {
        let request = request.into_inner();
        is_file_system(request.volume_capability.as_ref())?;
        let volume = &request.volume_id;
        let bytes = request.volume_context.get(BYTES).and_then(|bytes| bytes.parse().ok());
        let bytes = bytes.ok_or_else(|| Status::invalid_argument(format!("volume {volume} does not say its size")))?;
        let file = self.files.make(volume, bytes).await.map_err(failed(volume))?;
        mounts::mount_file(&file, Path::new(&request.staging_target_path)).await.map_err(failed(volume))?;
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(&self, request: Request<NodeUnstageVolumeRequest>) -> Answer<NodeUnstageVolumeResponse> {
        let request = request.into_inner();
        mounts::unmount(Path::new(&request.staging_target_path)).await.map_err(failed(&request.volume_id))?;
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(&self, request: Request<NodePublishVolumeRequest>) -> Answer<NodePublishVolumeResponse> {
        let request = request.into_inner();
        is_file_system(request.volume_capability.as_ref())?;
        let (from, to) = (Path::new(&request.staging_target_path), Path::new(&request.target_path));
        mounts::bind(from, to, request.readonly).await.map_err(failed(&request.volume_id))?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(&self, request: Request<NodeUnpublishVolumeRequest>) -> Answer<NodeUnpublishVolumeResponse> {
        let request = request.into_inner();
        mounts::unmount(Path::new(&request.target_path)).await.map_err(failed(&request.volume_id))?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_capabilities(&self, _: Request<NodeGetCapabilitiesRequest>) -> Answer<NodeGetCapabilitiesResponse> {
        let stages = Rpc { r#type: rpc::Type::StageUnstageVolume.into() };
        let capabilities = vec![NodeServiceCapability { r#type: Some(NodeType::Rpc(stages)) }];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Answer<NodeGetInfoResponse> {
        let segments = HashMap::from([(TOPOLOGY_KEY.to_owned(), self.node.clone())]);
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.node.clone(),
            max_volumes_per_node: 0,
            accessible_topology: Some(Topology { segments }),
        }))
    }
}
