package picture

import (
	"bufio"
	_ "embed" // the style sheet
	"fmt"
	"io"
	"strconv"
	"strings"
)

// drawingStyle is that of the drawing, alone and on the page. Kinds of edges
// differ by their dashes, states by the width of lines: colour only helps.
//
//go:embed drawing.css
var drawingStyle string

// mostLabels is for how many edges a drawing has labels; of more, they would
// lie over each other. The titles that come up under the pointer remain.
const mostLabels = 60

// drawSVG writes one self-contained drawing.
func drawSVG(w io.Writer, p Picture) error {
	at := lay(p)
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" class="drawing" width="%[1]s" height="%[2]s" viewBox="0 0 %[1]s %[2]s" role="img">`+"\n", number(at.w), number(at.h))
	if p.Title != "" {
		fmt.Fprintf(b, "<title>%s</title>\n", text(p.Title))
	}
	fmt.Fprintf(b, "<style>\n%s</style>\n", drawingStyle)
	fmt.Fprintf(b, `<rect class="paper" width="%s" height="%s"/>`+"\n", number(at.w), number(at.h))
	edges := 0
	for _, n := range p.Nodes {
		edges += len(n.Edges)
	}
	for i, n := range p.Nodes {
		for j, e := range n.Edges {
			legs := at.lines[i][j]
			fmt.Fprintf(b, `<g class="edge %s"><title>%s</title><path d="%s"/><path class="tip" d="%s"/>`, e.Kind, text(e.sentence(p, i)), path(legs), tip(legs))
			if label := n.written(p, j); label != "" && edges <= mostLabels {
				last := legs[len(legs)-1]
				fmt.Fprintf(b, `<text x="%s" y="%s">%s</text>`, number((last.from.x+last.to.x)/2), number((last.from.y+last.to.y)/2-4), text(label))
			}
			b.WriteString("</g>\n")
		}
	}
	for i, n := range p.Nodes {
		c := at.boxes[i]
		fmt.Fprintf(b, `<g class="%s"><title>%s</title><rect x="%s" y="%s" width="%s" height="%s" rx="%d"/><text x="%s" y="%s">%s</text></g>`+"\n",
			n.class(), text(n.sentence()), number(c.x), number(c.y), number(c.w), number(c.h), n.corner(), number(c.x+boxPad), number(c.y+c.h/2+4), text(n.Name))
	}
	b.WriteString("</svg>\n")
	return b.Flush()
}

// written is what stands beside the j-th edge: the names of the contexts by
// which it and those beside it lead to one node, at the first of them; ""
// where that is only the node's own name.
func (n Node) written(p Picture, j int) string {
	var names []string
	for i, e := range n.Edges {
		if e.Kind != Context || e.To != n.Edges[j].To {
			continue
		}
		if len(names) == 0 && i != j {
			return "" // it stands at an earlier one
		}
		names = append(names, e.Name)
	}
	if label := strings.Join(names, ", "); label != p.Nodes[n.Edges[j].To].Name {
		return label
	}
	return ""
}

// sentence says what an edge is, as "api reads base as the context \"runtime\" (build.hcl:12)".
func (e Edge) sentence(p Picture, from int) string {
	a, b := p.Nodes[from].Name, p.Nodes[e.To].Name
	place := ""
	if e.File != "" {
		place = fmt.Sprintf(" (%s:%d)", e.File, e.Line)
	}
	switch e.Kind {
	case DependsOn:
		return fmt.Sprintf("%s comes after %s%s", a, b, place)
	case Base:
		return fmt.Sprintf("%s begins from the image %s%s", a, b, place)
	}
	return fmt.Sprintf("%s reads %s as the context %q%s", a, b, e.Name, place)
}

func (n Node) sentence() string {
	s := n.Name
	if n.Description != "" {
		s += ": " + n.Description
	}
	if n.File != "" {
		s += fmt.Sprintf(" (%s:%d)", n.File, n.Line)
	}
	return s
}

// class names the classes of a node in the style sheet.
func (n Node) class() string {
	switch {
	case n.Image:
		return "node image"
	case n.Requested:
		return "node requested"
	}
	return "node"
}

// corner is how round a box is: targets are, images are not.
func (n Node) corner() int {
	if n.Image {
		return 0
	}
	return 6
}

// path is a line in the notation of SVG.
func path(legs []leg) string {
	var b strings.Builder
	for i, l := range legs {
		if i == 0 {
			b.WriteString("M" + pair(l.from))
		}
		if l.from.y == l.to.y {
			b.WriteString("L" + pair(l.to))
			continue
		}
		mid := (l.from.x + l.to.x) / 2
		b.WriteString("C" + pair(point{mid, l.from.y}) + " " + pair(point{mid, l.to.y}) + " " + pair(l.to))
	}
	return b.String()
}

// tip is the arrow's head at the end of a line.
func tip(legs []leg) string {
	end := legs[len(legs)-1].to
	return "M" + pair(point{end.x - 7, end.y - 4}) + "L" + pair(end) + "L" + pair(point{end.x - 7, end.y + 4})
}

func pair(p point) string { return number(p.x) + " " + number(p.y) }

// number writes a coordinate, to a tenth of a pixel.
func number(f float64) string {
	s := strconv.FormatFloat(f, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0")
}

// text escapes text of XML.
func text(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(plain(s))
}
