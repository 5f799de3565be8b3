package picture

import (
	_ "embed" // the page
	"encoding/json"
	"io"
	"strings"
)

// The page is one file that asks for nothing: style, script and data are in it.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string
)

// What the script draws from.
type (
	pageData struct {
		Width  float64    `json:"width"`
		Height float64    `json:"height"`
		Nodes  []pageNode `json:"nodes"`
		Edges  []pageEdge `json:"edges"`
		Groups []Group    `json:"groups"`
	}
	pageNode struct {
		Name        string          `json:"name"`
		Image       bool            `json:"image,omitempty"`
		Description string          `json:"description,omitempty"`
		Variant     string          `json:"variant,omitempty"`
		Requested   bool            `json:"requested,omitempty"`
		File        string          `json:"file,omitempty"`
		Line        int             `json:"line,omitempty"`
		Class       string          `json:"class"`
		Title       string          `json:"title"`
		X           float64         `json:"x"`
		Y           float64         `json:"y"`
		W           float64         `json:"w"`
		H           float64         `json:"h"`
		Attrs       json.RawMessage `json:"attrs,omitempty"`
	}
	pageEdge struct {
		From int    `json:"from"`
		To   int    `json:"to"`
		Kind Kind   `json:"kind"`
		Name string `json:"name,omitempty"`
		File string `json:"file,omitempty"`
		Line int    `json:"line,omitempty"`
		Path string `json:"path"`
		Tip  string `json:"tip"`
	}
)

func drawPage(w io.Writer, p Picture) error {
	data, err := json.Marshal(dataOf(p)) // which escapes what could end the script element
	if err != nil {
		return err
	}
	title := text(orElse(p.Title, "kiln"))
	_, err = io.WriteString(w, strings.NewReplacer(
		"{{title}}", title,
		"{{style}}", drawingStyle+pageStyle,
		"{{data}}", string(data),
		"{{script}}", pageScript,
	).Replace(pageHTML))
	return err
}

func dataOf(p Picture) pageData {
	at := lay(p)
	out := pageData{Width: at.w, Height: at.h, Nodes: []pageNode{}, Edges: []pageEdge{}, Groups: []Group{}}
	for i, n := range p.Nodes {
		b := at.boxes[i]
		out.Nodes = append(out.Nodes, pageNode{
			Name: n.Name, Image: n.Image, Description: n.Description, Variant: n.Variant, Requested: n.Requested,
			File: n.File, Line: n.Line, Class: n.class(), Title: n.sentence(),
			X: b.x, Y: b.y, W: b.w, H: b.h, Attrs: n.Attrs,
		})
		for j, e := range n.Edges {
			legs := at.lines[i][j]
			out.Edges = append(out.Edges, pageEdge{i, e.To, e.Kind, e.Name, e.File, e.Line, path(legs), tip(legs)})
		}
	}
	for _, g := range p.Groups {
		if g.Members == nil {
			g.Members = []string{}
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}
