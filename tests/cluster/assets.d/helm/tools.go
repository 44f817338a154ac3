//go:build tools

// Package tools names the program that is built from this module: it renders the chart that deploy/ is made of.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
