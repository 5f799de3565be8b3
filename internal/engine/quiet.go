package engine

import (
	"io"
	"log"

	"github.com/sirupsen/logrus"
)

// Quiet keeps what BuildKit's and containerd's packages log by themselves from
// standard error: in a client it tells nobody anything (that a file system has
// no fs-verity, that a connection ended that was cut). The engine's own log is
// not concerned. A program calls it once, at its start.
func Quiet() {
	logrus.SetOutput(io.Discard)
	log.SetOutput(io.Discard)
}
