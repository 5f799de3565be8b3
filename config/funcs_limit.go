package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Limits on functions, so that no build file can exhaust memory or run for
// hours: each call is charged for what it reads, works and yields, before it
// is made where that can be told, and all calls of one load share an
// allowance. No sensible file comes near it.

const (
	// allowance is for all calls together, in units of about two
	// nanoseconds; a byte of a result costs four units.
	allowance = 1 << 30
	// callCost is what any call costs.
	callCost = 512
	// numberBits is the greatest exponent of a number, to the base of two.
	// Writing a greater one as text would take seconds.
	numberBits = 1 << 17
	// valueBytes is the weight that one value may have.
	valueBytes = 64 << 20
	// valueDepth is how deep a value may be nested.
	valueDepth = 500
)

// spent counts the work of the functions of one load.
type spent struct {
	units   atomic.Int64
	refused atomic.Bool // some work was
}

// errSpent says that a file asks for more work than any sensible one does.
var errSpent = errors.New("this call would take too much memory or time; " +
	"one value may have 64 MiB, and all that the functions of a set of files yield 256 MiB")

// charge adds units of work. It fails when the allowance is used up; work
// that would pass it is refused without being counted.
func (s *spent) charge(units float64) error {
	if !(units < allowance) || s.units.Load()+int64(units) > allowance {
		s.refused.Store(true)
		return errSpent
	}
	s.units.Add(int64(units))
	return nil
}

// A costFunc tells the units of work of a call beside reading its arguments
// and yielding its result, or the size of the result if that can be great.
type costFunc func(args []cty.Value) float64

// limited returns f with its calls charged to s. A panic in f, which would
// be a mistake of the library, becomes an error without a stack.
func limited(f function.Function, cost costFunc, s *spent) function.Function {
	spec := &function.Spec{
		Params: f.Params(),
		Type:   function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if err := s.chargeCall(args, cost); err != nil {
				return cty.NilVal, err
			}
			v, err := f.Call(args)
			if mistake := (function.PanicError{}); errors.As(err, &mistake) {
				return cty.NilVal, fmt.Errorf("the function cannot handle these arguments: %v", mistake.Value)
			}
			if err != nil {
				return cty.NilVal, err
			}
			return v, s.charge(4 * weigh(v))
		},
	}
	for i := range spec.Params {
		leaveToLibrary(&spec.Params[i])
	}
	if spec.VarParam = f.VarParam(); spec.VarParam != nil {
		rest := *spec.VarParam
		leaveToLibrary(&rest)
		spec.VarParam = &rest
	}
	return function.New(spec)
}

// leaveToLibrary lets all values through to the function that is called.
func leaveToLibrary(p *function.Parameter) {
	p.AllowUnknown, p.AllowMarked, p.AllowDynamicType = true, true, true
}

func (s *spent) chargeCall(args []cty.Value, cost costFunc) error {
	units := float64(callCost)
	for _, a := range args {
		units += weigh(a)
	}
	if units < allowance && cost != nil {
		units += cost(args)
	}
	return s.charge(units)
}

// weigh estimates the bytes that a value takes, or would take as text. It is
// infinite for a number that is too great to be written, for a value nested
// too deep, and for one heavier than valueBytes; so it returns in reasonable
// time even for values that share their parts.
func weigh(v cty.Value) float64 {
	if w := weighInto(v, valueBytes, valueDepth); w <= valueBytes {
		return w
	}
	return math.Inf(1)
}

func weighInto(v cty.Value, most float64, depth int) float64 {
	const each = 32
	if !v.IsKnown() || v.IsNull() {
		return each
	}
	if v.IsMarked() {
		v, _ = v.Unmark()
	}
	switch ty := v.Type(); {
	case ty == cty.String:
		return each + float64(len(v.AsString()))
	case ty == cty.Number:
		if e := v.AsBigFloat().MantExp(nil); e > numberBits || e < -numberBits {
			return math.Inf(1)
		}
		return each
	case !v.CanIterateElements():
		return each
	case depth == 0:
		return math.Inf(1)
	}
	sum := float64(each)
	for it := v.ElementIterator(); it.Next() && sum <= most; {
		key, elem := it.Element()
		if !v.Type().IsSetType() && key.Type() == cty.String { // a set's keys are its elements, null among them
			sum += float64(len(key.AsString()))
		}
		sum += weighInto(elem, most-sum, depth-1)
	}
	return sum
}

// The cost of single functions follows. Arguments have been weighed, but
// can be null or of any type that the parameter allows.

// text returns a string argument, or "" if there is none.
func text(args []cty.Value, i int) string {
	if i >= len(args) || args[i].Type() != cty.String || !args[i].IsKnown() || args[i].IsNull() || args[i].IsMarked() {
		return ""
	}
	return args[i].AsString()
}

// count returns a number argument, or 0 if there is none.
func count(args []cty.Value, i int) float64 {
	if i >= len(args) || args[i].Type() != cty.Number || !args[i].IsKnown() || args[i].IsNull() || args[i].IsMarked() {
		return 0
	}
	n, _ := args[i].AsBigFloat().Float64()
	return n
}

// size returns the number of elements of an argument, or 0 if it has none.
func size(args []cty.Value, i int) float64 {
	if i >= len(args) || args[i].IsMarked() || !args[i].IsKnown() || args[i].IsNull() || !args[i].CanIterateElements() {
		return 0
	}
	return float64(args[i].LengthInt())
}

func bcryptCost(args []cty.Value) float64 {
	rounds := 10.0
	if len(args) > 1 {
		rounds = count(args, 1)
	}
	return math.Exp2(rounds) * 20_000
}

func rsaCost(args []cty.Value) float64 {
	return math.Pow(float64(len(text(args, 1))), 3) / 4000
}

func distinctCost(args []cty.Value) float64 { return 20 * size(args, 0) * size(args, 0) }

func productCost(args []cty.Value) float64 {
	total := 1.0
	for i := range args {
		total *= size(args, i)
	}
	return 4 * total * (64 + 48*float64(len(args)))
}

func indentCost(args []cty.Value) float64 {
	return 4 * count(args, 0) * float64(1+strings.Count(text(args, 1), "\n"))
}

func joinCost(args []cty.Value) float64 {
	n := 0.0
	for i := range args {
		n += size(args, i)
	}
	return 4 * n * float64(len(text(args, 0)))
}

func splitCost(args []cty.Value) float64 { return 64 * float64(len(text(args, 1))) }

func replaceCost(args []cty.Value) float64 {
	return 4 * float64(strings.Count(text(args, 0), text(args, 1))) * float64(len(text(args, 2)))
}

// jsonCost refuses JSON that is nested deeper than a value may be.
func jsonCost(args []cty.Value) float64 {
	depth, inString, escaped := 0, false, false
	for _, c := range []byte(text(args, 0)) {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
		if depth > valueDepth {
			return math.Inf(1)
		}
	}
	return 0
}

var formatWidth = regexp.MustCompile(`[0-9]+`)

// formatCost is for both format and formatlist: for each element of the
// longest list, the widths and, for each verb, the heaviest argument.
func formatCost(args []cty.Value) float64 {
	format := text(args, 0)
	widths, heaviest, elements := 0.0, 0.0, 1.0
	for _, digits := range formatWidth.FindAllString(format, -1) {
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return math.Inf(1)
		}
		widths += n
	}
	for i := range args {
		elements = max(elements, size(args, i))
		if i > 0 {
			heaviest = max(heaviest, weigh(args[i])/max(1, size(args, i)))
		}
	}
	return 4 * elements * (float64(len(format)) + widths + float64(strings.Count(format, "%"))*heaviest)
}

var regexRepeat = regexp.MustCompile(`[{,]([0-9]+)`)

// regexCost is that of making the program of a pattern, the first argument,
// and of running it over the second: their sizes multiplied.
func regexCost(args []cty.Value) float64 {
	return runCost(text(args, 0), text(args, 1))
}

func runCost(pattern, in string) float64 {
	repeat := 1.0
	for _, m := range regexRepeat.FindAllStringSubmatch(pattern, -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return math.Inf(1)
		}
		repeat = max(repeat, n)
	}
	program := float64(len(pattern)) * repeat
	return 160*program + program*float64(len(in)+1)/4
}

func regexAllCost(args []cty.Value) float64 {
	groups := float64(1 + strings.Count(text(args, 0), "("))
	return regexCost(args) + 64*groups*float64(len(text(args, 1))+1)
}

func regexReplaceCost(args []cty.Value) float64 {
	in, pattern, to := text(args, 0), text(args, 1), text(args, 2)
	grown := float64(len(in)+1)*float64(len(to)) + float64(len(in))*float64(strings.Count(to, "$"))
	return runCost(pattern, in) + 4*grown
}
