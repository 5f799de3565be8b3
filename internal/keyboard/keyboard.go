// Package keyboard reads single keys from a terminal, and leaves the terminal
// as it was, however the program ends.
//
//	keys.go            bytes → names of keys
//	keyboard_linux.go  reading, being stopped and going on
//	terminal_linux.go  what is asked of the terminal, and given back
//	guard_linux.go     who gives it back if the program cannot
//
// The terminal stops showing what is typed and gives keys at once. It still
// makes signals of ctrl-C, ctrl-Z and ctrl-\, and writes as it did. While the
// program is in the background, nothing is read and nothing changed. Elsewhere
// than on Linux no keys are read.
package keyboard

// What a keyboard gives beside keys.
const (
	Stopping = "stopping" // the program will be stopped; what is written from now on may meet the shell's prompt
	Resumed  = "resumed"  // it goes on, or did stop without a word, and the screen may hold something else
)
