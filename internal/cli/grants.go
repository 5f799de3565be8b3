package cli

import (
	"strings"

	"github.com/kilnbuild/kiln/config"
)

// overrideGrants are what the command line grants by asking for it itself: a
// path in --set '*.output=…' is the user's own, not the file's.
func overrideGrants(overrides []config.Override) []grant {
	var out []grant
	for _, o := range overrides {
		for _, g := range grantsOf(o) {
			if g.value != "" || g.kind == grantSSH || g.kind == grantNetworkHost || g.kind == grantInsecure {
				out = append(out, g)
			}
		}
	}
	return out
}

func grantsOf(o config.Override) []grant {
	fields := overrideFields(o.Value)
	switch o.Key {
	case "output":
		if path, ok := plainPath(o.Value); ok {
			return []grant{{grantFSWrite, path}}
		}
		return []grant{{grantFSWrite, fields["dest"]}}
	case "cache-from":
		return []grant{{grantFSRead, fields["src"]}}
	case "cache-to":
		return []grant{{grantFSWrite, fields["dest"]}}
	case "secret", "secrets":
		if fields["src"]+fields["source"]+fields["env"] == "" && fields["type"] != "env" {
			return []grant{{grantFSRead, fields["id"]}} // a file, where no variable has that name
		}
		return []grant{{grantFSRead, fields["src"]}, {grantFSRead, fields["source"]}}
	case "ssh":
		_, paths, ok := strings.Cut(o.Value, "=")
		if !ok {
			return []grant{{kind: grantSSH}}
		}
		var out []grant
		for p := range strings.SplitSeq(paths, ",") {
			out = append(out, grant{grantFSRead, p})
		}
		return out
	case "entitlement", "entitlements":
		kind, value, _ := strings.Cut(o.Value, "=")
		return []grant{{grantKind(kind), value}}
	case "network":
		if o.Value == "host" {
			return []grant{{kind: grantNetworkHost}}
		}
	}
	return nil
}

// plainPath is the directory that an output of one word means.
func plainPath(v string) (string, bool) {
	return v, v != "" && v != "-" && !strings.Contains(v, ",") && !strings.HasPrefix(v, "type=")
}

// overrideFields reads the key=value fields of an entry; what is none is left
// out, for the definition tells what is wrong with it.
func overrideFields(v string) map[string]string {
	out := map[string]string{}
	fields, err := csvFields(v)
	if err != nil {
		return out
	}
	for _, f := range fields {
		if key, value, ok := strings.Cut(f, "="); ok {
			out[strings.ToLower(strings.TrimSpace(key))] = value
		}
	}
	return out
}
