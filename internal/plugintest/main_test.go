package plugintest_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain: when gateways, plugin servers and providers have ended, so has all they started.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
