package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/distribution/reference"
)

// A Login is who the engine is to be at a registry. The zero value is nobody.
// It has the fields of the X-Registry-Auth header.
type Login struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
	ServerAddress string `json:"serveraddress,omitempty"`
}

// Push has the engine send an image of its own to the registry that ref
// names, and returns the digest that it has there.
func (e *Engine) Push(ctx context.Context, ref string, as Login) (digest string, err error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("push %q: %w", ref, err)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return "", fmt.Errorf("push %q: an engine pushes by tag, not by digest", ref)
	}
	auth, err := json.Marshal(as)
	if err != nil {
		return "", err
	}
	header := http.Header{"X-Registry-Auth": {base64.URLEncoding.EncodeToString(auth)}}
	path := "/images/" + reference.FamiliarName(named) + "/push?tag=" + url.QueryEscape(tagged.Tag())
	resp, err := e.Do(ctx, http.MethodPost, path, header, nil)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	defer resp.Body.Close()
	if digest, err = pushed(resp.Body); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	return digest, nil
}

// pushed reads what the engine says while it pushes: a list of messages, of
// which one has the digest and any may be an error.
func pushed(r io.Reader) (digest string, err error) {
	dec := json.NewDecoder(r)
	for {
		var msg struct {
			Error string
			Aux   struct{ Digest string }
		}
		switch err := dec.Decode(&msg); {
		case errors.Is(err, io.EOF) && digest == "":
			return "", errors.New("the Docker Engine ended without a digest")
		case errors.Is(err, io.EOF):
			return digest, nil
		case err != nil:
			return "", err
		case msg.Error != "":
			return "", fmt.Errorf("the Docker Engine says: %s", msg.Error)
		case msg.Aux.Digest != "":
			digest = msg.Aux.Digest
		}
	}
}
