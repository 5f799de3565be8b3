package buildkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/subrequests"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"
)

// An Answer is what a frontend says to a question (the attribute call) in
// place of building.
type Answer struct {
	Method string          // "check", "outline", "targets" or the frontend's own
	Text   string          // for people; ends with a newline unless it is empty
	JSON   json.RawMessage // for programs; nil if the frontend gives none
	Status int             // 0 if nothing is wrong
}

// AnswerOf reads the answer in an output's metadata. Dockerfile is the path
// to show in place of the frontend's name for the file.
func AnswerOf(call, dockerfile string, meta map[string]string) (Answer, error) {
	method, _, _ := strings.Cut(call, ",")
	if method == "lint" {
		method = "check"
	}
	a := Answer{Method: method, Text: meta["result.txt"]}
	if s := meta["result.json"]; json.Valid([]byte(s)) {
		a.JSON = json.RawMessage(s)
	}
	if n, err := strconv.Atoi(meta["result.statuscode"]); err == nil {
		a.Status = n
	}
	if a.JSON == nil {
		return a, nil
	}
	var b bytes.Buffer
	var err error
	switch method {
	case "check":
		err = a.checked(&b, dockerfile)
	case "outline":
		err = outline.PrintOutline(a.JSON, &b)
	case "targets":
		err = targets.PrintTargets(a.JSON, &b)
	case "subrequests.describe":
		err = subrequests.PrintDescribe(a.JSON, &b)
	default:
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("read the frontend's answer to %s: %w", method, err)
	}
	a.Text = b.String()
	return a, nil
}

// checked writes what a check found. An error of the Dockerfile is a finding.
func (a *Answer) checked(w io.Writer, dockerfile string) error {
	var found lint.LintResults
	if err := json.Unmarshal(a.JSON, &found); err != nil {
		return err
	}
	named := func(s *pb.SourceInfo) *pb.SourceInfo {
		if s == nil || dockerfile == "" {
			return s
		}
		s = proto.CloneOf(s)
		s.Filename = dockerfile
		return s
	}
	switch n := len(found.Warnings); {
	case n == 1:
		fmt.Fprintln(w, "1 warning")
	case n > 1:
		fmt.Fprintf(w, "%d warnings\n", n)
	case found.Error == nil:
		fmt.Fprintln(w, "no warnings")
	}
	if err := found.PrintTo(w, named); err != nil {
		return err
	}
	if found.Error != nil {
		a.Status = max(a.Status, 1)
		fmt.Fprint(w, "ERROR: ")
		found.PrintErrorTo(w, named)
	}
	return nil
}
