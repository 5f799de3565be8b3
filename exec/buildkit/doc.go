// Package buildkit builds the nodes of a graph on a BuildKit daemon. It is
// the only package of kiln that imports BuildKit's client.
//
// [Dial] connects to a daemon, [Open] makes the [Solver] of one run, and
// [Lower] says, without a daemon, what a target will ask for.
//
// A run is one session and one build that stays open until the Solver is
// closed, so that every result can be read as long as anybody needs it. A
// target goes through these steps:
//
//	lower.go    Target  → Request     pure: frontend attributes, mounts, outputs, caches
//	feed.go     results → inputs      what other targets built, as LLB with its image configuration
//	convert.go  Request → LLB         BuildKit's Dockerfile frontend, run in kiln
//	share.go    LLB     → LLB         every reader of a directory reads one and the same upload
//	result.go   LLB     → exec.Result solved in the open build
//	export.go   Result  → exec.Output exporters and caches, while the build is open
//
// A target that the frontend in kiln cannot build exactly (a Dockerfile with
// another frontend, a remote context, attestations, entitlements) is given a
// build of its own, and the daemon's frontend: own.go.
//
// The package reads no environment and prints nothing.
package buildkit
