module holdfast.dev/tests/cluster/assets.d/pause

go 1.26
