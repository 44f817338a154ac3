module holdfast.dev/tests/cluster/assets.d/coredns

go 1.26

require (
	github.com/coredns/coredns v1.15.0
)
