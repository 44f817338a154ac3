//go:build tools

// Package tools names the commands that tests/cluster/assets builds, so that go.mod and go.sum cover them.
package tools

import (
	_ "github.com/coredns/coredns"
)
