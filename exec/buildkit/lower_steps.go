package buildkit

import (
	"encoding/csv"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
)

// steps lowers what governs how the steps of a Dockerfile run.
func (l *lowering) steps() {
	set := func(key, value string) {
		if value != "" {
			l.req.Attrs[key] = value
		}
	}
	set("target", l.t.Stage)
	set("platform", strings.Join(l.platforms(), ","))
	switch {
	case l.t.NoCache:
		l.req.Attrs["no-cache"] = "" // empty means every stage
	case len(l.t.NoCacheFilter) > 0:
		l.req.Attrs["no-cache"] = strings.Join(l.t.NoCacheFilter, ",")
	}
	if l.t.Pull {
		l.req.Attrs["image-resolve-mode"] = "pull"
	}
	switch l.t.Network {
	case "", "default":
	case "host", "none":
		l.req.Attrs["force-network-mode"] = l.t.Network
	default:
		l.wrong("network", "Unsupported network", "the network %q is not known to BuildKit. Use %q, %q or %q.", l.t.Network, "default", "none", "host")
	}
	if l.t.Network == "host" && !slices.Contains(l.req.Entitlements, "network.host") {
		l.req.Entitlements = append(slices.Clone(l.req.Entitlements), "network.host")
	}
	set("add-hosts", l.extraHosts())
	if n, ok := l.size("shm-size", l.t.ShmSize); ok {
		l.req.Attrs["shm-size"] = n
	}
	set("ulimit", l.ulimits())
	l.resources()
}

func (l *lowering) platforms() []string {
	var out []string
	for _, list := range l.t.Platforms {
		for p := range strings.SplitSeq(list, ",") {
			p = strings.TrimSpace(p)
			if p == "local" {
				p = l.o.Platform
			}
			spec := platforms.DefaultSpec()
			if p != "" {
				var err error
				if spec, err = platforms.Parse(p); err != nil {
					l.wrong("platforms", "Invalid platform", "%q is not a platform. One looks like %q or %q.", p, "linux/amd64", "linux/arm/v7")
					continue
				}
			}
			if name := platforms.FormatAll(platforms.Normalize(spec)); !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func (l *lowering) extraHosts() string {
	var out []string
	for _, h := range l.t.ExtraHosts {
		for addr := range strings.SplitSeq(h.Value, ",") {
			addr = strings.TrimSpace(addr)
			if gateway := l.o.Docker.gateway(); addr == "host-gateway" && gateway != "" {
				addr = gateway
			}
			bare := strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
			switch {
			case addr == "host-gateway":
				l.wrong("extra-hosts", "Unsupported host address", "host %q: %q has a meaning for newer Docker Engines only (--builder docker). Write the address itself.", h.Key, addr)
			case net.ParseIP(bare) == nil:
				l.wrong("extra-hosts", "Invalid host address", "host %q: %q is not an IP address.", h.Key, addr)
			default:
				out = append(out, h.Key+"="+bare)
			}
		}
	}
	return strings.Join(out, ",")
}

func (l *lowering) ulimits() string {
	var out []string
	for _, u := range l.t.Ulimits {
		limit, err := units.ParseUlimit(u)
		if err != nil {
			l.wrong("ulimits", "Invalid ulimit", "%q: %v. A limit looks like %q.", u, err, "nofile=1024:2048")
			continue
		}
		out = append(out, limit.String())
	}
	return strings.Join(out, ",")
}

// size reads bytes, or a number with a unit; ok is false if there is none.
func (l *lowering) size(attr, text string) (string, bool) {
	if text == "" {
		return "", false
	}
	n, err := units.RAMInBytes(text)
	if err != nil {
		l.wrong(attr, "Invalid size", "%q is not a size. Write bytes, or a number with k, m or g.", text)
		return "", false
	}
	return strconv.FormatInt(n, 10), n != 0
}

func (l *lowering) resources() {
	r := l.t.Resources
	if r == nil {
		return
	}
	for _, f := range []struct {
		key  string
		text *string
	}{{"memory", r.Memory}, {"memswap", r.MemorySwap}} {
		if f.text == nil {
			continue
		}
		text := strings.TrimSpace(*f.text)
		if f.key == "memswap" && text == "-1" {
			l.req.Attrs[f.key] = "-1" // unlimited
		} else if n, ok := l.size("resources", text); ok {
			l.req.Attrs[f.key] = n
		}
	}
	for _, f := range []struct {
		key string
		n   *int64
	}{{"cpushares", r.CPUShares}, {"cpuperiod", r.CPUPeriod}, {"cpuquota", r.CPUQuota}} {
		if f.n != nil && *f.n > 0 {
			l.req.Attrs[f.key] = strconv.FormatInt(*f.n, 10)
		}
	}
	for _, f := range []struct {
		key  string
		text *string
	}{{"cpusetcpus", r.CPUSetCPUs}, {"cpusetmems", r.CPUSetMems}} {
		if f.text != nil && *f.text != "" {
			l.req.Attrs[f.key] = strings.TrimSpace(*f.text)
		}
	}
}

// csvFields writes fields as one CSV record, the way frontends read lists.
func csvFields(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(fields) // a strings.Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}
