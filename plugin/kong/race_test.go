//go:build race

package kong_test

// racy says that the race detector runs, under which a sync.Pool forgets at random.
const racy = true
