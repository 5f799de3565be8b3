// Package docker speaks to a Docker Engine: where one is (endpoint.go,
// contexts.go), what it is and can do (engine.go), how its built-in BuildKit
// is reached (hijack.go), and how an image leaves it (push.go).
//
// It needs no more of the engine's interface than a few requests that every
// version since 18.09 has in the same form, so it asks for no version of it.
// What it sends is described in https://docs.docker.com/reference/api/engine/.
package docker
