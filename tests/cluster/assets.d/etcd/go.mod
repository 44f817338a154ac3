module holdfast.dev/tests/cluster/assets.d/etcd

go 1.26

require (
	go.etcd.io/etcd/server/v3 v3.7.3
)
