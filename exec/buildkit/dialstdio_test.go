package buildkit_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// dialStdio names the variable that makes the test binary a stand-in for
// docker, kubectl and their kin: it pipes its standard streams to the socket
// that the variable holds, or for the container that the arguments name of
// several ("NAME=SOCKET;NAME=SOCKET"), as `buildctl dial-stdio` does in a container.
const dialStdio = "KILN_TEST_DIAL_STDIO"

func dialStdioMain(socket string) int {
	args := strings.Join(os.Args[1:], " ")
	if log := os.Getenv("KILN_TEST_DIAL_LOG"); log != "" {
		if err := os.WriteFile(log, []byte(args), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if strings.Contains(args, "nosuch") {
		fmt.Fprintln(os.Stderr, "Error response from daemon: No such container: nosuch")
		return 1
	}
	for entry := range strings.SplitSeq(socket, ";") { // NAME=SOCKET, of which one is in the arguments
		if name, path, ok := strings.Cut(entry, "="); ok && strings.Contains(args, name) {
			socket = path
		}
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, c)
	return 0
}
