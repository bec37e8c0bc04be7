package devgateway

import "syscall"

// ownGroup keeps a Ctrl-C at the terminal from the child, which ends by our SIGTERM; if we are
// killed, the kernel sends it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
