//go:build tools

// Package tools names the commands that tests/cluster/assets builds, so that go.mod and go.sum cover them.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
)
