// Command greet greets.
package main

import (
	"os"
	"runtime"
)

var version = "devel" // set by the linker

func main() {
	os.Stdout.WriteString("greet " + version + " on " + runtime.GOOS + "/" + runtime.GOARCH + "\n")
}
