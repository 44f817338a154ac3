# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # `logs` is part's
# etcd, API server, controller manager and scheduler, each on the host's network. Sourced by `part`.

run_control_plane() {
    local bin=$STATE/bin pki=$STATE/pki
    # Nothing of this cluster outlives a crash of the machine, so fsync buys nothing.
    daemon etcd "$bin/etcd" --name holdfast --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
        --listen-peer-urls http://127.0.0.1:23800 --initial-advertise-peer-urls http://127.0.0.1:23800 \
        --initial-cluster holdfast=http://127.0.0.1:23800
    wait_until 60 "etcd to answer on $ETCD_URL (see $logs/etcd.log)" curl -fsS "$ETCD_URL/health"
    # Aggregator routing: webhooks are called at their pods' addresses, since no kube-proxy serves the host's namespace.
    daemon kube-apiserver "$bin/kube-apiserver" \
        --etcd-servers "$ETCD_URL" --bind-address "$HOST_IP" --advertise-address "$HOST_IP" --secure-port 6443 \
        --service-cluster-ip-range "$SERVICE_NETWORK" --allow-privileged --profiling=false \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --enable-aggregator-routing \
        --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --kubelet-client-certificate "$pki/apiserver-kubelet.crt" --kubelet-client-key "$pki/apiserver-kubelet.key" \
        --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$pki/service-account.pub" --service-account-signing-key-file "$pki/service-account.key"
    wait_until 120 "the API server to be ready (see $logs/kube-apiserver.log)" api_ready
    # The binder's resync is 15 s by default; hand-made volumes bind sooner with less.
    daemon kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$STATE/kubeconfigs/controller-manager" \
        --leader-elect=false --secure-port 0 --use-service-account-credentials --allocate-node-cidrs=false \
        --service-account-private-key-file "$pki/service-account.key" --root-ca-file "$pki/ca.crt" \
        --pvclaimbinder-sync-period 2s
    daemon kube-scheduler "$bin/kube-scheduler" --kubeconfig "$STATE/kubeconfigs/scheduler" --leader-elect=false --secure-port 0
}
