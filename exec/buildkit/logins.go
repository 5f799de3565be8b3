package buildkit

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/secrets"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/config"
)

// Logins. A context may be an address with a password in it. BuildKit would
// keep that address: in its cache's records, in the configuration of the
// repository it fetches, in its log. So kiln takes the password out, and gives
// it to the daemon as a secret of the one target, by the ID under which the
// daemon looks for it.

// A Login is what an address said of who fetches it.
type Login struct {
	ID     string // of the secret by which the daemon asks
	Header string // value of the Authorization header
}

// withoutLogin returns an address of a context without the password in it,
// which becomes a login of the request.
func (l *lowering) withoutLogin(address string) string {
	address, login := splitLogin(address)
	if login != nil {
		l.req.Logins = append(l.req.Logins, *login)
	}
	return address
}

// splitLogin takes the login out of a web address that has one. A name alone
// stays where it is, unless it is so long that it will be a token.
func splitLogin(address string) (string, *Login) {
	u, err := url.Parse(address)
	if err != nil || u.User == nil || u.Scheme != "http" && u.Scheme != "https" || redactURL(address) == address {
		return address, nil
	}
	password, _ := u.User.Password()
	credentials := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
	scheme, rest, _ := strings.Cut(address, "://")
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	address = scheme + "://" + rest[strings.LastIndexByte(authority, '@')+1:]
	if IsGit(address) {
		return address, &Login{ID: llb.GitAuthHeaderKey + "." + GitHost(address), Header: "basic " + credentials}
	}
	return address, &Login{ID: httpAuthHeader + u.Hostname(), Header: "Basic " + credentials}
}

// httpAuthHeader begins the ID of the secret that BuildKit's HTTP source asks
// for; the name of the host follows.
const httpAuthHeader = "HTTP_AUTH_HEADER_"

// login answers for a secret that a login is.
func (st secretStore) login(id string) ([]byte, error) {
	for _, l := range st.logins {
		if l.ID == id {
			return []byte(l.Header), nil
		}
	}
	return nil, fmt.Errorf("secret %s: %w", id, secrets.ErrNotFound)
}

// hide makes known what of a job must not be shown: passwords of addresses,
// and arguments whose name says that they are secret.
func (c *credentials) hide(j *job) {
	for _, l := range j.req.Logins {
		_, credentials, _ := strings.Cut(l.Header, " ")
		c.s.redact.add([]byte(credentials))
		text, _ := base64.StdEncoding.DecodeString(credentials) // encoded above
		user, password, _ := strings.Cut(string(text), ":")
		c.s.redact.add([]byte(cmp.Or(password, user)))
	}
	for key, value := range j.req.Attrs { // the order does not matter: all become the same
		name, ok := strings.CutPrefix(key, "build-arg:")
		switch {
		case ok && IsSecretName(name):
			c.s.redact.add([]byte(value))
		case ok && strings.HasSuffix(strings.ToLower(name), "_proxy"):
			c.s.redact.add(passwordIn(value))
		}
	}
}

// PlainProxies returns proxies without the passwords in them if a target is to
// have full provenance, and a warning that says so. Full provenance publishes
// the arguments of all that went into an image.
func PlainProxies(targets []*config.Target, proxies []config.KeyValue) ([]config.KeyValue, hcl.Diagnostics) {
	at := slices.IndexFunc(targets, hasFullProvenance)
	if at < 0 || !slices.ContainsFunc(proxies, func(p config.KeyValue) bool { return len(passwordIn(p.Value)) > 0 }) {
		return proxies, nil
	}
	proxies = slices.Clone(proxies)
	for i, p := range proxies {
		if len(passwordIn(p.Value)) > 0 {
			scheme, rest, _ := strings.Cut(p.Value, "://")
			proxies[i].Value = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
		}
	}
	rng, ok := targets[at].AttrRange["attest"]
	if !ok {
		rng = targets[at].DeclRange
	}
	return proxies, hcl.Diagnostics{&hcl.Diagnostic{
		Severity: hcl.DiagWarning,
		Summary:  "Proxy without its password",
		Detail: fmt.Sprintf("Full provenance, as target %q has it, publishes all build arguments, and with them the password of the proxy in the Docker client's configuration. All targets get the proxy without it. Ask for mode=min, or use a proxy that needs no password.",
			targets[at].Name),
		Subject: &rng,
	}}
}

// hasFullProvenance reports whether a target asks for provenance in any mode
// but the minimal one.
func hasFullProvenance(t *config.Target) bool {
	return slices.ContainsFunc(t.Attest, func(a config.Attestation) bool {
		return a.Type == "provenance" && !a.Disabled && pairs(a.Attrs)["mode"] != "min"
	})
}

// passwordIn returns the password in an address; nil if there is none.
func passwordIn(address string) []byte {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return nil
	}
	password, _ := u.User.Password()
	return []byte(password)
}

// A watchedAuth answers registries for the daemon, and has what it gives
// hidden: some registries repeat it in their errors.
type watchedAuth struct {
	auth.AuthServer
	redact *redactor
}

// Register implements session.Attachable.
func (w *watchedAuth) Register(server *grpc.Server) { auth.RegisterAuthServer(server, w) }

// FetchToken implements auth.AuthServer.
func (w *watchedAuth) FetchToken(ctx context.Context, req *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	resp, err := w.AuthServer.FetchToken(ctx, req)
	w.redact.add([]byte(resp.GetToken()))
	return resp, err
}

// Credentials implements auth.AuthServer.
func (w *watchedAuth) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	resp, err := w.AuthServer.Credentials(ctx, req)
	if secret := resp.GetSecret(); secret != "" {
		w.redact.add([]byte(secret))
		w.redact.add([]byte(base64.StdEncoding.EncodeToString([]byte(resp.GetUsername() + ":" + secret))))
	}
	return resp, err
}
