//go:build !race

package kong_test

const racy = false
