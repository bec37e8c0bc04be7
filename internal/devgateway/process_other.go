//go:build !linux

package devgateway

import "syscall"

// ownGroup keeps a Ctrl-C at the terminal from the child, which ends by our SIGTERM.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
