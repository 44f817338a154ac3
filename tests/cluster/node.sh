# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # `logs` is part's
# One node: containerd, kubelet and kube-proxy, in namespaces of their own. Sourced by `part`, as process 1 of the node.
# Everything the node keeps lies in the folders `lib`, `log` and `run` of its folder, bound over /var/lib, /var/log and
# /run: so the ordinary /var/lib/kubelet exists on every node, and nothing of a node is left on the host.

# `/` must be shared inside, as it is on a real host: pods that mount with HostToContainer propagation need it.
mount_own_folders() { # NODE
    local folder
    folder=$(node_folder "$1")
    mount --bind "$STATE/bin/" "$folder/lib/node/bin"
    mount --bind "$STATE/images/" "$folder/lib/node/images"
    mount --rbind "$folder/lib" /var/lib
    mount --rbind "$folder/log" /var/log
    mount --rbind "$folder/run" /run
    mount --make-rshared /
}

join_network() { # NODE
    wait_until 60 "the host to hand over eth0" ip link show eth0
    ip link set lo up
    ip address add "$(node_ip "$1")/24" dev eth0
    ip link set eth0 up
    ip route add default via "$HOST_IP"
    echo 1 >/proc/sys/net/ipv4/ip_forward
    local other
    for other in "${NODES[@]}"; do
        [[ $other == "$1" ]] || ip route add "$(node_pods "$other")" via "$(node_ip "$other")"
    done
}

write_containerd_config() {
    # No CAP_SYS_RESOURCE on some machines: nobody may lower an oom_score_adj there.
    cat >/var/lib/node/containerd.toml <<'CONFIG'
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "registry.local/pause:holdfast"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "/usr/sbin/runc"
  SystemdCgroup = false

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/var/lib/node/bin"]
  conf_dir = "/var/lib/node/cni"
CONFIG
}

# ptp, not bridge: pods of one node then reach each other through the node's routing, where kube-proxy's rules see the
# answers too; on a bridge they would not, without br_netfilter.
write_network_config() { # NODE
    mkdir -p /var/lib/node/cni
    cat >/var/lib/node/cni/10-holdfast.conflist <<CONFIG
{"cniVersion": "1.0.0", "name": "holdfast", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "subnet": "$(node_pods "$1")", "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CONFIG
}

write_kubelet_config() { # NODE
    cat >/var/lib/node/kubelet.yaml <<CONFIG
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /var/lib/node/ca.crt}
authorization: {mode: Webhook}
# Two kubelets share one machine: each would clear away the other's pod cgroups if both started at the root.
cgroupRoot: /holdfast-$1
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: ["$DNS_IP"]
serializeImagePulls: false
volumePluginDir: /var/lib/node/volume-plugins
# Images cannot be pulled again, and the disk is everybody's: never collect, hardly ever evict.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
CONFIG
}

import_images() {
    local image
    for image in /var/lib/node/images/*.tar; do
        ctr -n k8s.io images import "$image" || fail "importing $image failed"
    done
}

run_node() { # NODE
    local node=$1
    local log_folder
    log_folder=$(node_folder "$node")/log
    mount_own_folders "$node"
    # $STATE may be covered by the new /run; logs go to /var/log, which the host sees as nodes/NODE/log.
    logs=/var/log CA_FILE=/var/lib/node/ca.crt
    export PATH=/var/lib/node/bin:$PATH
    hostname "$node"
    join_network "$node"
    write_containerd_config
    write_network_config "$node"
    write_kubelet_config "$node"
    daemon containerd containerd --config /var/lib/node/containerd.toml --log-level info
    wait_until 60 "containerd (see $log_folder/containerd.log)" ctr version
    import_images
    wait_until 120 "the API server" api_ready
    daemon kubelet kubelet --config /var/lib/node/kubelet.yaml --kubeconfig /var/lib/node/kubelet.kubeconfig \
        --hostname-override "$node" --node-ip "$(node_ip "$node")"
    # These conntrack sysctls belong to the machine, and cannot be written everywhere.
    daemon kube-proxy kube-proxy --kubeconfig /var/lib/node/kube-proxy.kubeconfig --hostname-override "$node" \
        --proxy-mode iptables --cluster-cidr "$POD_NETWORK" \
        --healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249 \
        --conntrack-max-per-core 0 --conntrack-min 0 \
        --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s
}
