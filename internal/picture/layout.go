package picture

import (
	"math"
	"slices"
)

// The layout is layered, after Sugiyama: what was asked for on the left, what
// it needs to its right, and lines that cross as little as a few passes can
// bring about.
//
//	rank     nodes → layers     one right of everything that needs it
//	join     edges → segments   from layer to layer; lines to one node share their way
//	order    layers → order     by the mean place of neighbours, over and over
//	fold     layers → columns   a tall layer becomes several columns
//	place    columns → boxes    each as near to its neighbours as the order lets it

// A box is where a node lies: X and Y are its upper left corner. Pixels.
type box struct{ x, y, w, h float64 }

// A point is a place in pixels.
type point struct{ x, y float64 }

// A layout is where everything lies.
type layout struct {
	boxes []box     // by node
	lines [][][]leg // by node and edge
	w, h  float64   // of the whole
}

// A leg is one piece of a line: a curve that begins and ends level, or a
// straight line where both ends are on one height.
type leg struct{ from, to point }

const (
	charWidth  = 7.3 // of the monospace font of 12 pixels
	boxHeight  = 28.0
	boxPad     = 12.0
	rowGap     = 12.0
	laneHeight = 4.0  // of a line that passes through a layer
	layerGap   = 84.0 // between layers
	foldGap    = 28.0 // between the columns of one layer
	margin     = 16.0
	leastRows  = 24 // a layer of so many nodes is never folded
	mostLanes  = 20_000
	passes     = 8
)

// A vertex is a node, or the place where lines to a node pass through a layer.
type vertex struct {
	node        int // or, of a lane, the node that its lines lead to
	lane        bool
	rank        int
	left, right []int // neighbours in the layers beside, each once
	at          int   // place in its layer
	column      int
	y           float64 // of the middle
}

func (v vertex) height() float64 {
	if v.lane {
		return laneHeight
	}
	return boxHeight
}

// layers is the state of laying out.
type layers struct {
	p        Picture
	rank     []int
	alone    []bool // nodes without any edge: they lie in rows of their own
	vertices []vertex
	lanes    []map[int]int // by node: rank → vertex of its lane there
	ways     [][][]int     // by node and edge: the vertices of the line, first to last
	mean     []float64     // by vertex, of the layer that is being sorted
	byRank   [][]int
	columns  [][]int // vertices from top to bottom
	x, width []float64
}

func lay(p Picture) layout {
	l := &layers{p: p}
	l.rankNodes()
	l.join()
	l.order()
	l.fold()
	l.place()
	return l.layout()
}

// rankNodes puts each node one right of everything that needs it. Needers
// stand later in the picture.
func (l *layers) rankNodes() {
	n := len(l.p.Nodes)
	l.rank, l.alone = make([]int, n), make([]bool, n)
	needed := make([]bool, n)
	for i := n - 1; i >= 0; i-- {
		for _, e := range l.p.Nodes[i].Edges {
			l.rank[e.To] = max(l.rank[e.To], l.rank[i]+1)
			needed[e.To] = true
		}
		l.alone[i] = !needed[i] && len(l.p.Nodes[i].Edges) == 0
	}
}

// join makes the vertices and their neighbours. The node i is the vertex i.
func (l *layers) join() {
	for i := range l.p.Nodes {
		l.vertices = append(l.vertices, vertex{node: i, rank: l.rank[i]})
	}
	l.lanes, l.ways = make([]map[int]int, len(l.p.Nodes)), make([][][]int, len(l.p.Nodes))
	for i := range l.p.Nodes {
		for _, e := range l.p.Nodes[i].Edges {
			way := l.way(i, e.To)
			l.ways[i] = append(l.ways[i], way)
			for j := 1; j < len(way); j++ {
				l.link(way[j-1], way[j])
			}
		}
	}
	ranks := 0
	for _, v := range l.vertices {
		ranks = max(ranks, v.rank+1)
	}
	l.byRank = make([][]int, ranks)
}

// way returns the vertices of a line, first to last. It has lanes for all the
// layers between, unless there are too many already.
func (l *layers) way(from, to int) []int {
	way := []int{from}
	first := l.rank[from] + 1
	if lanes := l.lanes[to]; lanes == nil {
		l.lanes[to] = map[int]int{}
	}
	for r := first; r < l.rank[to]; r++ {
		v, ok := l.lanes[to][r]
		if !ok {
			if len(l.vertices)-len(l.p.Nodes)+l.rank[to]-r > mostLanes {
				return []int{from, to}
			}
			v = len(l.vertices)
			l.vertices = append(l.vertices, vertex{node: to, lane: true, rank: r})
			l.lanes[to][r] = v
		}
		way = append(way, v)
	}
	return append(way, to)
}

func (l *layers) link(a, b int) {
	if l.vertices[a].rank+1 != l.vertices[b].rank {
		return // a line without lanes has no say in the order
	}
	if !slices.Contains(l.vertices[a].right, b) {
		l.vertices[a].right = append(l.vertices[a].right, b)
		l.vertices[b].left = append(l.vertices[b].left, a)
	}
}

// order sorts the layers so that few lines cross.
func (l *layers) order() {
	l.mean = make([]float64, len(l.vertices))
	seen := make([]bool, len(l.vertices))
	var visit func(v int)
	visit = func(v int) {
		if seen[v] {
			return
		}
		seen[v] = true
		l.byRank[l.vertices[v].rank] = append(l.byRank[l.vertices[v].rank], v)
		for _, next := range l.vertices[v].right {
			visit(next)
		}
	}
	for v := range l.vertices {
		if l.vertices[v].left == nil && !(v < len(l.alone) && l.alone[v]) {
			visit(v)
		}
	}
	l.number()
	best, least := l.clone(), l.crossings()
	for pass := 0; pass < passes && least > 0; pass++ {
		for r := 1; r < len(l.byRank); r++ {
			l.sortLayer(r, func(v vertex) []int { return v.left })
		}
		for r := len(l.byRank) - 2; r >= 0; r-- {
			l.sortLayer(r, func(v vertex) []int { return v.right })
		}
		if c := l.crossings(); c < least {
			best, least = l.clone(), c
		}
	}
	l.byRank = best
	l.number()
}

func (l *layers) number() {
	for _, layer := range l.byRank {
		for at, v := range layer {
			l.vertices[v].at = at
		}
	}
}

func (l *layers) clone() [][]int {
	out := make([][]int, len(l.byRank))
	for r := range l.byRank {
		out[r] = slices.Clone(l.byRank[r])
	}
	return out
}

// sortLayer sorts one layer by the mean place of neighbours on one side; what
// has none there stays where it is, as far as it can.
func (l *layers) sortLayer(r int, beside func(vertex) []int) {
	layer := l.byRank[r]
	mean := l.mean
	for _, v := range layer {
		mean[v] = float64(l.vertices[v].at)
		if ns := beside(l.vertices[v]); len(ns) > 0 {
			sum := 0
			for _, n := range ns {
				sum += l.vertices[n].at
			}
			mean[v] = float64(sum) / float64(len(ns))
		}
	}
	slices.SortStableFunc(layer, func(a, b int) int {
		switch {
		case mean[a] < mean[b]:
			return -1
		case mean[a] > mean[b]:
			return 1
		}
		return 0
	})
	for at, v := range layer {
		l.vertices[v].at = at
	}
}

// crossings counts the pairs of segments that cross, with a Fenwick tree over
// the right ends.
func (l *layers) crossings() int {
	total := 0
	for r := 0; r+1 < len(l.byRank); r++ {
		size := len(l.byRank[r+1])
		tree := make([]int, size+1)
		ends := 0
		for _, v := range l.byRank[r] {
			places := make([]int, 0, len(l.vertices[v].right))
			for _, n := range l.vertices[v].right {
				places = append(places, l.vertices[n].at)
			}
			for _, at := range places {
				above := 0
				for i := at + 1; i > 0; i -= i & -i {
					above += tree[i]
				}
				total += ends - above
			}
			for _, at := range places {
				for i := at + 1; i <= size; i += i & -i {
					tree[i]++
				}
				ends++
			}
		}
	}
	return total
}

// fold cuts tall layers into columns, so that the whole is about as wide as it
// is tall, and says where the columns are.
func (l *layers) fold() {
	rows := max(leastRows, int(math.Sqrt(3*float64(len(l.p.Nodes)))))
	x := margin
	for _, layer := range l.byRank {
		nodes := 0
		for _, v := range layer {
			if !l.vertices[v].lane {
				nodes++
			}
		}
		parts := max(1, (nodes+rows-1)/rows)
		for part := range parts {
			column := layer[part*len(layer)/parts : (part+1)*len(layer)/parts]
			width := 0.0
			for _, v := range column {
				l.vertices[v].column = len(l.columns)
				if !l.vertices[v].lane {
					width = max(width, l.boxWidth(l.vertices[v].node))
				}
			}
			l.columns = append(l.columns, column)
			l.x, l.width = append(l.x, x), append(l.width, width)
			x += width + foldGap
		}
		x += layerGap - foldGap
	}
}

func (l *layers) boxWidth(node int) float64 {
	return math.Ceil(float64(len([]rune(l.p.Nodes[node].Name)))*charWidth) + 2*boxPad
}

// place finds the heights: from side to side, each column as near to the mean
// of its neighbours as the order and the gaps let it.
func (l *layers) place() {
	for _, column := range l.columns {
		l.settle(column, func(int) (float64, bool) { return 0, false })
	}
	for pass := range passes {
		for c := range l.columns {
			column, beside := l.columns[c], func(v vertex) []int { return v.left }
			if pass%2 == 1 {
				column, beside = l.columns[len(l.columns)-1-c], func(v vertex) []int { return v.right }
			}
			l.settle(column, func(v int) (float64, bool) {
				ns := beside(l.vertices[v])
				if len(ns) == 0 {
					return l.vertices[v].y, false
				}
				sum := 0.0
				for _, n := range ns {
					sum += l.vertices[n].y
				}
				return sum / float64(len(ns)), true
			})
		}
	}
}

// settle places a column from top to bottom with the least sum of squares of
// the distances to where its vertices want to be, by pooling those that would
// overlap. One that has no wish weighs little.
func (l *layers) settle(column []int, wish func(v int) (float64, bool)) {
	type pool struct{ sum, weight, size float64 }
	var pools []pool
	offsets := make([]float64, len(column))
	offset := 0.0
	for i, v := range column {
		if i > 0 {
			offset += l.vertices[column[i-1]].height()/2 + rowGap + l.vertices[v].height()/2
		}
		offsets[i] = offset
		y, wants := wish(v)
		weight := 1.0
		if !wants {
			weight = 0.01
		}
		pools = append(pools, pool{(y - offset) * weight, weight, 1})
		for n := len(pools); n > 1 && pools[n-2].sum/pools[n-2].weight >= pools[n-1].sum/pools[n-1].weight; n-- {
			pools[n-2].sum += pools[n-1].sum
			pools[n-2].weight += pools[n-1].weight
			pools[n-2].size += pools[n-1].size
			pools = pools[:n-1]
		}
	}
	i := 0
	for _, p := range pools {
		for range int(p.size) {
			l.vertices[column[i]].y = p.sum/p.weight + offsets[i]
			i++
		}
	}
}

// layout gives everything its place, in whole pixels.
func (l *layers) layout() layout {
	out := layout{boxes: make([]box, len(l.p.Nodes)), lines: make([][][]leg, len(l.p.Nodes))}
	top := math.Inf(1)
	for _, column := range l.columns {
		for _, v := range column {
			top = min(top, l.vertices[v].y-l.vertices[v].height()/2)
		}
	}
	for _, column := range l.columns {
		for _, v := range column {
			x := &l.vertices[v]
			x.y = math.Round(x.y - top + margin)
			out.h = max(out.h, x.y+boxHeight/2+margin)
			if !x.lane {
				b := box{l.x[x.column], x.y - boxHeight/2, l.boxWidth(x.node), boxHeight}
				out.boxes[x.node] = b
				out.w = max(out.w, b.x+b.w+margin)
			}
		}
	}
	for i, n := range l.p.Nodes {
		for j, e := range n.Edges {
			out.lines[i] = append(out.lines[i], l.line(out.boxes[i], out.boxes[e.To], l.ways[i][j]))
		}
	}
	l.placeAlone(&out)
	return out
}

// line returns the legs of a way from one box to another.
func (l *layers) line(a, b box, way []int) []leg {
	at := point{a.x + a.w, a.y + a.h/2}
	var legs []leg
	for _, v := range way[1 : len(way)-1] {
		x := l.vertices[v]
		in := point{l.x[x.column], x.y}
		out := point{l.x[x.column] + l.width[x.column], x.y}
		legs = append(legs, leg{at, in}, leg{in, out})
		at = out
	}
	return append(legs, leg{at, point{b.x, b.y + b.h/2}})
}

// placeAlone lays the nodes without edges in rows below the rest.
func (l *layers) placeAlone(out *layout) {
	width := 0.0
	count := 0
	for i, alone := range l.alone {
		if alone {
			width = max(width, l.boxWidth(i))
			count++
		}
	}
	if count == 0 {
		out.w, out.h = max(out.w, 2*margin), max(out.h, 2*margin)
		return
	}
	perRow := max(1, int((out.w-margin)/(width+foldGap)), int(math.Sqrt(float64(count)/2)))
	y := max(out.h, margin)
	at := 0
	for i, alone := range l.alone {
		if !alone {
			continue
		}
		b := box{margin + float64(at%perRow)*(width+foldGap), y + float64(at/perRow)*(boxHeight+rowGap), l.boxWidth(i), boxHeight}
		out.boxes[i] = b
		out.w, out.h = max(out.w, b.x+b.w+margin), max(out.h, b.y+b.h+margin)
		at++
	}
}
