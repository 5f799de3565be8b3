// Package examples holds builds to read and to copy from, each in a directory
// with a README. The tests build every one with a real kiln and a real engine,
// without a registry in reach, and start what was built.
package examples
