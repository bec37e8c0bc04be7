package devgateway

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	respawnEvery = time.Second // Kong starts a server again at most that often
	endWithin    = 20 * time.Second
)

// keepRunning runs a plugin server until ctx ends: with an empty environment, as Kong does, and
// again when it dies. It ends by SIGTERM.
func (g *Gateway) keepRunning(ctx context.Context, p Plugin) {
	// The thread that forks must live as long as the child: the kernel may end the child with it
	// (see ownGroup).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		next := time.After(respawnEvery)
		err := g.runOnce(ctx, p)
		if ctx.Err() != nil {
			return
		}
		g.log.Error("the plugin server ended: it is started again", "error", err)
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
}

func (g *Gateway) runOnce(ctx context.Context, p Plugin) error {
	cmd := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
	cmd.Env = []string{}
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endWithin
	if p.Output != nil {
		cmd.Stdout, cmd.Stderr = p.Output, p.Output
		return cmd.Run()
	}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	done := make(chan struct{})
	go func() { // ends when the pipe is closed below
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			g.log.Info(lines.Text(), "from", "plugin server")
		}
		_, _ = io.Copy(io.Discard, out) // a line that is too long for the scanner must not block the server
	}()
	err := cmd.Run()
	_ = in.Close()
	<-done
	return err
}
