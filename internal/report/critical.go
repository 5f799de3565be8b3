package report

import (
	"cmp"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/internal/runs"
)

// The critical path. A run is a graph of activities: targets begin, their
// steps run, their exports. Each begins when the last of those that it waits
// for has ended, and a while after that, which is kept as it was. Going back
// from the end of the run, always to what was waited for last, gives the
// path: only what is on it can make the run shorter. What a step less would
// save is found by timing the whole graph again without it; it is less than
// the step took where another way is nearly as long.
//
// What is limited waits for others, too, that it reads nothing of: a target
// for a slot of -j, a step for the builder, which does only so many at once.
// Where one began well after it could have, it is taken to have waited for
// the one that ended just before it did. It keeps that predecessor when the
// run is timed again, though with other times slots might have been given in
// another order.

// A Critical is the critical path of a run.
type Critical struct {
	Seconds float64    `json:"seconds"` // of its activities; the rest of the run was waiting in between
	Path    []PathPart `json:"path"`    // in the order of time
}

// A PathPart is an activity on the critical path.
type PathPart struct {
	StepTime
	Wait  float64 `json:"wait,omitempty"`  // seconds between the end of the part before and its start
	Slot  bool    `json:"slot,omitempty"`  // it waited for a slot: of -j, or of the builder
	Saves float64 `json:"saves,omitempty"` // seconds by which the run would be shorter without it
}

// An activity is a node of the graph.
type activity struct {
	step       StepTime // for the path; without a Step it is none of its parts
	start, end time.Duration
	after      []int // activities that it waits for
	limit      limit
	slot       int // the one of them that it waits for because of a limit; -1 if none
	last       int // of after, the one that ended last; -1 if there is none
	lag        time.Duration
}

// A limit is what an activity may have to wait for.
type limit int

const (
	none  limit = iota
	jobs        // of targets: -j
	steps       // of steps: the builder's own
)

// A timeline is the graph of a run. When it is done, each activity comes
// after those it waits for.
type timeline struct {
	run    *runs.Run
	all    []activity
	steps  map[string]int // by digest
	solved map[string]int // by target
	ended  map[string]int // by target: its export, or else as solved
}

func criticalOf(r *runs.Run) Critical {
	tl := timelineOf(r)
	out := Critical{Path: []PathPart{}}
	last := -1
	for i, a := range tl.all {
		if last < 0 || a.end > tl.all[last].end {
			last = i
		}
	}
	var onPath []int
	for i := last; i >= 0; i = tl.all[i].last {
		onPath = append(onPath, i)
	}
	slices.Reverse(onPath)
	free := time.Duration(0) // when the part before had ended
	slot := false
	for _, i := range onPath {
		a := tl.all[i]
		slot = slot || a.slot >= 0 && a.slot == a.last
		if a.step.Step == "" || a.end <= a.start {
			continue
		}
		part := PathPart{StepTime: a.step, Wait: seconds(max(0, a.start-free)), Slot: slot}
		part.Start, part.Seconds = seconds(a.start), seconds(a.end-a.start)
		free, slot = a.end, false
		out.Seconds += part.Seconds
		out.Path = append(out.Path, part)
	}
	out.Seconds = seconds(time.Duration(out.Seconds * float64(time.Second)))
	tl.savings(out.Path, onPath)
	return out
}

// mostTimed is how many parts of a path the run is timed again without.
const mostTimed = 50

// savings fills in what the parts of the path would save, the longest first.
func (tl *timeline) savings(path []PathPart, onPath []int) {
	whole := tl.length(-1)
	var index []int // of the activities that are parts
	for _, i := range onPath {
		if a := tl.all[i]; a.step.Step != "" && a.end > a.start {
			index = append(index, i)
		}
	}
	order := make([]int, len(path))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(path[b].Seconds, path[a].Seconds) })
	for _, k := range order[:min(len(order), mostTimed)] {
		path[k].Saves = seconds(max(0, whole-tl.length(index[k])))
	}
}

// length times the graph again, with one activity taking no time, and returns
// when the last ends.
func (tl *timeline) length(without int) time.Duration {
	ends := make([]time.Duration, len(tl.all))
	longest := time.Duration(0)
	for i, a := range tl.all {
		start := time.Duration(0)
		for _, p := range a.after {
			start = max(start, ends[p])
		}
		start += a.lag
		if i != without {
			start += a.end - a.start
		}
		ends[i] = start
		longest = max(longest, start)
	}
	return longest
}

// timelineOf makes the graph of a run.
func timelineOf(r *runs.Run) *timeline {
	tl := &timeline{run: r, steps: map[string]int{}, solved: map[string]int{}, ended: map[string]int{}}
	inputs, asked := inputsOf(r), askedBy(r)
	for _, t := range r.Targets {
		if t.Started.IsZero() || t.Finished.IsZero() {
			continue
		}
		begin := tl.begin(t)
		mine := tl.addSteps(t, begin, inputs)
		end := t.Solved
		if end.IsZero() {
			end = t.Finished
		}
		at := end.Sub(r.Started)
		tl.solved[t.Name] = tl.add(activity{start: at, end: at, after: append(mine, begin)})
		tl.ended[t.Name] = tl.solved[t.Name]
		if took := exportTime(t); took > 0 {
			from := t.Exporting.Sub(r.Started)
			tl.ended[t.Name] = tl.add(activity{step: StepTime{Target: t.Name, Step: export}, start: from, end: from + took, after: []int{tl.solved[t.Name]}})
		}
	}
	for digest, i := range tl.steps { // each by itself
		for _, in := range inputs[digest] {
			if k, ok := tl.steps[in]; ok && k != i {
				tl.all[i].after = append(tl.all[i].after, k)
			}
		}
	}
	for _, t := range r.Targets { // what was told of another target
		i, ok := tl.solved[t.Name]
		for _, digest := range asked[t.Name] {
			if k, known := tl.steps[digest]; ok && known {
				tl.all[i].after = append(tl.all[i].after, k)
			}
		}
	}
	tl.sort()
	tl.wait()
	return tl
}

// inputsOf returns what each step reads, by digest.
func inputsOf(r *runs.Run) map[string][]string {
	out := map[string][]string{}
	for _, recipe := range r.Recipes {
		for _, in := range recipe.Inputs {
			out[recipe.Digest] = append(out[recipe.Digest], in.Step)
		}
	}
	return out
}

// askedBy returns the steps that each target asked for.
func askedBy(r *runs.Run) map[string][]string {
	out := map[string][]string{}
	for _, recipe := range r.Recipes {
		for _, t := range recipe.Targets {
			out[t] = append(out[t], recipe.Digest)
		}
	}
	return out
}

func (tl *timeline) add(a activity) int {
	a.slot, a.last = -1, -1
	tl.all = append(tl.all, a)
	return len(tl.all) - 1
}

// begin adds the start of a target: after what it needs.
func (tl *timeline) begin(t *runs.Target) int {
	at := t.Started.Sub(tl.run.Started)
	a := activity{start: at, end: at}
	if tl.run.Jobs > 0 {
		a.limit = jobs
	}
	for _, n := range t.Needs {
		if i, ok := tl.solved[n]; ok {
			a.after = append(a.after, i)
		}
	}
	for _, n := range t.After {
		if i, ok := tl.ended[n]; ok {
			a.after = append(a.after, i)
		}
	}
	return tl.add(a)
}

// addSteps adds the steps of a target, and returns them.
func (tl *timeline) addSteps(t *runs.Target, begin int, inputs map[string][]string) []int {
	var mine []int
	for _, s := range inOrder(t) {
		if s.Started.IsZero() || t.End(s).Before(s.Started) || exporting(s) {
			continue
		}
		a := activity{
			step:  StepTime{Target: t.Name, Step: s.Name, Digest: s.Digest, File: s.File, Line: s.Line},
			start: s.Started.Sub(tl.run.Started), end: t.End(s).Sub(tl.run.Started), after: []int{begin},
		}
		if s.Written() && !s.Cached {
			a.limit = steps
		}
		if len(inputs[s.Digest]) == 0 { // nothing, or unknown: it is after the one that ended last
			if i := tl.lastBefore(mine, a.start); i >= 0 {
				a.after = append(a.after, i)
			}
		}
		i := tl.add(a)
		if _, ok := tl.steps[s.Digest]; !ok {
			tl.steps[s.Digest] = i
		}
		mine = append(mine, i)
	}
	return mine
}

// inOrder sorts the steps of a target by start; those that took no time, as
// they came.
func inOrder(t *runs.Target) []*runs.Step {
	out := slices.Clone(t.Steps)
	slices.SortStableFunc(out, func(a, b *runs.Step) int {
		return cmp.Or(a.Started.Compare(b.Started), t.End(a).Compare(t.End(b)))
	})
	return out
}

func (tl *timeline) lastBefore(among []int, at time.Duration) int {
	last := -1
	for _, i := range among {
		if tl.all[i].end <= at && (last < 0 || tl.all[i].end >= tl.all[last].end) {
			last = i
		}
	}
	return last
}

// sort brings the activities into the order in which they began, and leaves
// out what cannot have been waited for.
func (tl *timeline) sort() {
	order := make([]int, len(tl.all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(tl.all[a].start, tl.all[b].start) })
	place := make([]int, len(order))
	sorted := make([]activity, len(order))
	for to, from := range order {
		place[from], sorted[to] = to, tl.all[from]
	}
	tl.all = sorted
	for i := range tl.all {
		a := &tl.all[i]
		for k := range a.after {
			a.after[k] = place[a.after[k]]
		}
		a.after = slices.DeleteFunc(a.after, func(p int) bool { return p >= i })
	}
	for name, i := range tl.ended { // each by itself
		tl.ended[name] = place[i]
	}
}

// slotDelay is how late an activity begins that is taken to have waited for a
// slot.
const slotDelay = 50 * time.Millisecond

// wait finds out what each activity waited for last.
func (tl *timeline) wait() {
	holders := map[limit][]int{} // what holds a slot, by its end
	for _, i := range tl.ended {
		holders[jobs] = append(holders[jobs], i)
	}
	for i, a := range tl.all {
		if a.limit == steps && a.end > a.start {
			holders[steps] = append(holders[steps], i)
		}
	}
	byEnd := func(a, b int) int { return cmp.Or(cmp.Compare(tl.all[a].end, tl.all[b].end), cmp.Compare(a, b)) }
	slices.SortFunc(holders[jobs], byEnd)
	slices.SortFunc(holders[steps], byEnd)
	for i := range tl.all {
		a := &tl.all[i]
		a.last = tl.lastOf(a.after)
		ready := time.Duration(0)
		if a.last >= 0 {
			ready = tl.all[a.last].end
		}
		if before := holders[a.limit]; a.start-ready >= slotDelay {
			n, _ := slices.BinarySearchFunc(before, a.start, func(k int, at time.Duration) int {
				if tl.all[k].end <= at {
					return -1
				}
				return 1
			})
			if n > 0 && before[n-1] < i && tl.all[before[n-1]].end > ready {
				a.slot = before[n-1]
				a.after = append(a.after, a.slot)
				a.last = a.slot
				ready = tl.all[a.slot].end
			}
		}
		a.lag = a.start - ready
	}
}

// lastOf returns the one that ended last, -1 of none.
func (tl *timeline) lastOf(among []int) int {
	last := -1
	for _, p := range among {
		if last < 0 || tl.all[p].end > tl.all[last].end {
			last = p
		}
	}
	return last
}
