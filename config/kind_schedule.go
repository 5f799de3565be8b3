package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/gocty"
)

// The kinds of the attributes that say how a build is scheduled.

// maxWeight is the greatest weight: more says no more than "alone".
const maxWeight = 1000

// weightKind is a whole number of slots.
var weightKind = &kind{
	words: "whole number",
	fit: func(f *fitting, v cty.Value) any {
		n := 0
		num, err := convert.Convert(v, cty.Number)
		if err == nil && !tooGreat(num) {
			err = gocty.FromCtyValue(num, &n)
		}
		return f.weight(n, err == nil && !tooGreat(num), describe(v))
	},
	value: func(v any) cty.Value {
		if v == nil {
			return cty.NullVal(cty.Number)
		}
		return cty.NumberIntVal(int64(v.(int)))
	},
	parse: func(f *fitting, items []string) any {
		n, err := strconv.Atoi(strings.TrimSpace(items[0]))
		return f.weight(n, err == nil, strconv.Quote(clip(items[0])))
	},
}

func (f *fitting) weight(n int, ok bool, was string) any {
	if !ok || n < 1 || n > maxWeight {
		f.failf(f.rng, "a whole number from 1 to %d is needed, but this is %s.", maxWeight, was)
		return nil
	}
	return n
}

// durationKind is a time as Go writes it; 0 is no limit.
var durationKind = &kind{
	words: "duration",
	fit: func(f *fitting, v cty.Value) any {
		s, ok := f.text(v, f.rng, "")
		if !ok {
			return nil
		}
		return f.duration(s)
	},
	value: func(v any) cty.Value {
		if v == nil {
			return cty.NullVal(cty.String)
		}
		return cty.StringVal(v.(time.Duration).String())
	},
	parse: func(f *fitting, items []string) any { return f.duration(items[0]) },
}

func (f *fitting) duration(s string) any {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil || d < 0 {
		f.failf(f.rng, "%q is no duration; write a number and a unit, as 90s, 10m or 1h30m, or 0 for no limit.", clip(s))
		return nil
	}
	return d
}
