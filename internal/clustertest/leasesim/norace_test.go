//go:build !race

package leasesim

const raced = false
