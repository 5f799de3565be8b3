package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// isCall reports whether a target is a question to its frontend.
func isCall(t *config.Target) bool { return t.Call != "" && t.Call != "build" }

// answers prints what the frontends said to the targets with a call, by name,
// and returns an error with the exit code that they ask for.
func (a *app) answers(p *plan, outcomes []exec.Outcome) error {
	asked := slices.DeleteFunc(slices.Clone(outcomes), func(o exec.Outcome) bool {
		return o.Status != exec.Built || !isCall(o.Node.Target)
	})
	if len(asked) == 0 {
		return nil
	}
	slices.SortFunc(asked, func(x, y exec.Outcome) int { return strings.Compare(x.Node.Name(), y.Node.Name()) })
	status := 0
	said := make([]buildkit.Answer, len(asked))
	for i, o := range asked {
		path, _ := dockerfilePath(o.Node.Target)
		answer, err := buildkit.AnswerOf(o.Node.Target.Call, path, o.Output.Metadata)
		if err != nil {
			return &exitError{code: codeFailed, err: err}
		}
		said[i] = answer
		status = max(status, answer.Status)
	}
	print := a.answersText
	if p.call.json {
		print = a.answersJSON
	}
	if err := print(p, asked, said); err != nil {
		return err
	}
	if status != 0 && !p.call.ignoreStatus {
		return &exitError{code: status, told: true}
	}
	return nil
}

func (a *app) answersText(_ *plan, asked []exec.Outcome, said []buildkit.Answer) error {
	var b bytes.Buffer
	for i, o := range asked {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintln(&b, o.Node.Name())
		if d := o.Node.Target.Description; d != "" {
			fmt.Fprintln(&b, d)
		}
		fmt.Fprintf(&b, "\n%s", said[i].Text)
	}
	_, err := a.Out.Write(b.Bytes())
	return err
}

// answersJSON prints one object: the groups, and for each target what it
// resolved to and the answer under the name of the method.
func (a *app) answersJSON(p *plan, asked []exec.Outcome, said []buildkit.Answer) error {
	var b bytes.Buffer
	if err := config.Print(&b, p.graph.Groups(), targetsOf(p.graph)); err != nil {
		return err
	}
	var resolved struct {
		Group  json.RawMessage            `json:"group"`
		Target map[string]json.RawMessage `json:"target"`
	}
	if err := json.Unmarshal(b.Bytes(), &resolved); err != nil {
		return err
	}
	targets := map[string]map[string]json.RawMessage{}
	for i, o := range asked {
		targets[o.Node.Name()] = map[string]json.RawMessage{
			"build":        resolved.Target[o.Node.Name()],
			said[i].Method: said[i].JSON,
		}
	}
	return writeJSON(a.Out, struct {
		Group  json.RawMessage                       `json:"group"`
		Target map[string]map[string]json.RawMessage `json:"target"`
	}{resolved.Group, targets})
}
