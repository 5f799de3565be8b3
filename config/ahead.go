package config

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Evaluating ahead: what targets say in terms of variables alone needs no
// order, so all cores evaluate it before the targets are decoded one by one.
// Only values without any fault are kept; what has one is evaluated again in
// its turn, and told there.

// aheadLeast is from how many targets on this is worth while.
const aheadLeast = 64

// ahead evaluates the expressions of targets that need nothing but variables.
func (ev *evaluator) ahead() {
	if len(ev.order) < aheadLeast || runtime.GOMAXPROCS(0) == 1 || ev.rep.errors > 0 || ev.meter.spent.refused.Load() {
		return
	}
	for _, b := range ev.mod.functions { // so that calls find all they need, and change nothing
		if f := ev.funcs[b.label]; f == nil || !ev.needs(f) {
			return
		}
	}
	spent := ev.meter.spent.units.Load()
	var workers sync.WaitGroup
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			const run = 16 // targets taken at once
			for from := next.Add(run) - run; int(from) < len(ev.order); from = next.Add(run) - run {
				for _, t := range ev.order[from:min(int(from)+run, len(ev.order))] {
					ev.eachAhead(t, ev.evaluateAhead)
				}
			}
		})
	}
	workers.Wait()
	if !ev.meter.spent.refused.Load() {
		return
	}
	// Who was refused depended on who came first: begin again, in order.
	ev.meter.told.Store(false)
	ev.meter.spent.units.Store(spent)
	ev.meter.spent.refused.Store(false)
	for _, t := range ev.order {
		ev.eachAhead(t, func(_ *instance, _ layer, a *attrExpr) { a.expr.ahead, a.fitted = false, nil })
	}
}

// eachAhead calls do for the attributes that are of this target alone: those
// of blocks without matrix and variants.
func (ev *evaluator) eachAhead(t *instance, do func(*instance, layer, *attrExpr)) {
	for _, l := range t.own {
		if l.scope != nil {
			continue
		}
		for i := range l.b.attrs {
			do(t, l, &l.b.attrs[i])
		}
	}
}

// evaluateAhead gives an attribute its value if that needs only what is
// known, and makes it fit.
func (ev *evaluator) evaluateAhead(t *instance, l layer, a *attrExpr) {
	x := a.expr
	x.prepare(ev.meter)
	if x.err.HasErrors() || len(x.deep) > 0 {
		return
	}
	if !x.static {
		for _, name := range x.roots {
			if _, known := ev.root.Variables[name]; !known {
				return
			}
		}
		v, diags := evaluate(x.syn, ev.root)
		if len(diags) > 0 {
			return
		}
		x.ahead, x.val = true, v
	}
	k := attributes[a.index].kind
	if k.fit == nil || x.val.IsNull() {
		return
	}
	f := ev.fitting(t, a.index, x, l.b.file)
	f.rep = &report{}
	if val := k.fit(f, x.val); !f.failed && len(f.rep.list) == 0 {
		a.fitted = val
	}
}
