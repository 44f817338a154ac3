# shellcheck shell=bash
# The cluster's certificate authority, certificates, service account key and kubeconfigs. Sourced by `up`.

# certificate NAME SUBJECT [EXTENSION...]: signed by our own authority, for one day less than a year
certificate() {
    local name=$1 subject=$2 extension arguments=()
    shift 2
    for extension in "basicConstraints=critical,CA:FALSE" "extendedKeyUsage=clientAuth,serverAuth" "$@"; do
        arguments+=(-addext "$extension")
    done
    openssl req -x509 -config "$STATE/pki/openssl.cnf" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" -days 364 -subj "$subject" "${arguments[@]}" \
        -keyout "$STATE/pki/$name.key" -out "$STATE/pki/$name.crt" 2>"$STATE/pki/$name.log" \
        || fail "making the certificate $name failed, see $STATE/pki/$name.log"
}

kubeconfig() { # CERTIFICATE FILE
    local pki=$STATE/pki
    (umask 077; cat >"$2" <<CONFIG
apiVersion: v1
kind: Config
current-context: holdfast
clusters:
- name: holdfast
  cluster: {server: "$API_URL", certificate-authority-data: "$(base64 -w0 "$pki/ca.crt")"}
users:
- name: $1
  user: {client-certificate-data: "$(base64 -w0 "$pki/$1.crt")", client-key-data: "$(base64 -w0 "$pki/$1.key")"}
contexts:
- name: holdfast
  context: {cluster: holdfast, user: $1}
CONFIG
    )
}

make_credentials() {
    local pki=$STATE/pki node
    mkdir -p "$pki" "$STATE/kubeconfigs"
    chmod 700 "$pki" "$STATE/kubeconfigs"
    # A configuration of our own: the system's would add extensions of an authority to every certificate.
    printf '[req]\ndistinguished_name=name\n[name]\n' >"$pki/openssl.cnf"
    openssl req -x509 -config "$pki/openssl.cnf" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj /CN=holdfast-test-ca -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>"$pki/ca.log" || fail "making the certificate authority failed, see $pki/ca.log"
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$pki/service-account.key" 2>"$pki/service-account.log"
    openssl pkey -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub"
    certificate apiserver /CN=kube-apiserver "subjectAltName=IP:$HOST_IP,IP:10.96.0.1,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
    certificate admin /O=system:masters/CN=admin
    certificate controller-manager /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate kube-proxy /CN=system:kube-proxy
    kubeconfig controller-manager "$STATE/kubeconfigs/controller-manager"
    kubeconfig scheduler "$STATE/kubeconfigs/scheduler"
    for node in "${NODES[@]}"; do
        certificate "$node" "/O=system:nodes/CN=system:node:$node"
        kubeconfig "$node" "$(node_folder "$node")/lib/node/kubelet.kubeconfig"
        kubeconfig kube-proxy "$(node_folder "$node")/lib/node/kube-proxy.kubeconfig"
        cp "$pki/ca.crt" "$(node_folder "$node")/lib/node/ca.crt"
    done
    kubeconfig admin "$KUBECONFIG_FILE.new"
}
