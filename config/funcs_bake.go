package config

import (
	"errors"
	"fmt"
	"math/big"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/hashicorp/go-cty-funcs/cidr"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// The functions of bake's language that no library has.

var (
	basenameFunc = textFunc("path", path.Base)
	dirnameFunc  = textFunc("path", path.Dir)
	sanitizeFunc = textFunc("name", func(s string) string { return strings.Map(nameRune, s) })

	indexofFunc = function.New(&function.Spec{
		Params: []function.Parameter{
			{Name: "list", Type: cty.DynamicPseudoType},
			{Name: "value", Type: cty.DynamicPseudoType},
		},
		Type: function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return indexOf(args[0], args[1]) },
	})

	// subnetFunc is the library's without what its newer releases make of a
	// negative number: a network outside the prefix.
	subnetFunc = function.New(&function.Spec{
		Params: cidr.SubnetFunc.Params(),
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if args[2].LessThan(cty.Zero).True() {
				return cty.NilVal, function.NewArgErrorf(2, "the number of a network cannot be negative")
			}
			return cidr.SubnetFunc.Call(args)
		},
	})

	semvercmpFunc = function.New(&function.Spec{
		Params: []function.Parameter{
			{Name: "version", Type: cty.String},
			{Name: "constraint", Type: cty.String},
		},
		Type: function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return satisfies(args[0].AsString(), args[1].AsString())
		},
	})

	formatTimestampFunc = function.New(&function.Spec{
		Params: []function.Parameter{
			{Name: "format", Type: cty.String},
			{Name: "time", Type: cty.DynamicPseudoType},
		},
		Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return formatTimestamp(args[0], args[1]) },
	})

	unixTimestampParseFunc = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "unix_timestamp", Type: cty.Number}},
		Type:   function.StaticReturnType(timeParts(time.Time{}).Type()),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			t, err := unixTime(args[0])
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			return timeParts(t), nil
		},
	})

	// try and can differ from hcl's own in one thing: they evaluate their
	// expressions once, not once for the type and once for the value, so
	// that calls nested thirty deep do not take 2^30 evaluations.
	tryFunc = function.New(&function.Spec{
		VarParam: &function.Parameter{Name: "expressions", Type: customdecode.ExpressionClosureType},
		Type:     function.StaticReturnType(cty.DynamicPseudoType),
		Impl:     func(args []cty.Value, _ cty.Type) (cty.Value, error) { return firstThatWorks(args) },
	})

	canFunc = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "expression", Type: customdecode.ExpressionClosureType}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			_, diags := customdecode.ExpressionClosureFromVal(args[0]).Value()
			return cty.BoolVal(!diags.HasErrors()), nil
		},
	})
)

func timestampFunc(env *funcEnv) function.Function {
	return constFunc(func() (string, error) {
		now := time.Now
		if env.Now != nil {
			now = env.Now
		}
		return now().UTC().Format(time.RFC3339), nil
	})
}

func homedirFunc(env *funcEnv) function.Function {
	return constFunc(func() (string, error) {
		if env.Home == "" {
			return "", errors.New("the user has no home directory; set HOME")
		}
		return env.Home, nil
	})
}

// textFunc makes a function of one string.
func textFunc(param string, f func(string) string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: param, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(f(args[0].AsString())), nil
		},
	})
}

// constFunc makes a function without parameters.
func constFunc(f func() (string, error)) function.Function {
	return function.New(&function.Spec{
		Type: function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) {
			s, err := f()
			if err != nil {
				return cty.NilVal, err
			}
			return cty.StringVal(s), nil
		},
	})
}

// nameRune returns r if target names may have it, else "_".
func nameRune(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '-':
		return r
	}
	return '_'
}

func indexOf(list, value cty.Value) (cty.Value, error) {
	if ty := list.Type(); !ty.IsListType() && !ty.IsTupleType() {
		return cty.NilVal, function.NewArgErrorf(0, "a list is needed, not %s", ty.FriendlyName())
	}
	for i, elem := range list.AsValueSlice() {
		eq, err := stdlib.Equal(elem, value)
		if err != nil {
			return cty.NilVal, err
		}
		if eq.IsKnown() && eq.True() {
			return cty.NumberIntVal(int64(i)), nil
		}
	}
	return cty.NilVal, errors.New("the list does not have that value; contains() tells whether it has")
}

func satisfies(version, constraint string) (cty.Value, error) {
	v, err := semver.NewVersion(version)
	if err != nil {
		return cty.NilVal, function.NewArgErrorf(0, "%q is not a version such as \"1.2.3\"", version)
	}
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return cty.NilVal, function.NewArgErrorf(1, "%q is not a constraint such as \">= 1.2, < 2\"", constraint)
	}
	return cty.BoolVal(c.Check(v)), nil
}

func formatTimestamp(format, at cty.Value) (cty.Value, error) {
	var t time.Time
	var err error
	switch at.Type() {
	case cty.Number:
		t, err = unixTime(at)
		at = cty.StringVal(t.Format(time.RFC3339))
	case cty.String:
		if t, err = time.Parse(time.RFC3339, at.AsString()); err != nil {
			err = fmt.Errorf("%q is not a time as RFC 3339 writes it, such as \"2026-01-02T15:04:05Z\"", at.AsString())
		}
	default:
		err = fmt.Errorf("a time as RFC 3339 writes it or a number of seconds is needed, not %s", at.Type().FriendlyName())
	}
	if err != nil {
		return cty.NilVal, function.NewArgError(1, err)
	}
	if format.AsString() == "X" {
		return cty.StringVal(strconv.FormatInt(t.Unix(), 10)), nil
	}
	return stdlib.FormatDate(format, at)
}

func unixTime(seconds cty.Value) (time.Time, error) {
	n, accuracy := seconds.AsBigFloat().Int64()
	if accuracy != big.Exact {
		return time.Time{}, errors.New("seconds since 1970 must be a whole number")
	}
	return time.Unix(n, 0).UTC(), nil
}

func timeParts(t time.Time) cty.Value {
	number := func(n int) cty.Value { return cty.NumberIntVal(int64(n)) }
	isoYear, isoWeek := t.ISOWeek()
	return cty.ObjectVal(map[string]cty.Value{
		"year":         number(t.Year()),
		"year_day":     number(t.YearDay()),
		"day":          number(t.Day()),
		"month":        number(int(t.Month())),
		"month_name":   cty.StringVal(t.Month().String()),
		"weekday":      number(int(t.Weekday())),
		"weekday_name": cty.StringVal(t.Weekday().String()),
		"hour":         number(t.Hour()),
		"minute":       number(t.Minute()),
		"second":       number(t.Second()),
		"rfc3339":      cty.StringVal(t.Format(time.RFC3339)),
		"iso_year":     number(isoYear),
		"iso_week":     number(isoWeek),
	})
}

func firstThatWorks(closures []cty.Value) (cty.Value, error) {
	if len(closures) == 0 {
		return cty.NilVal, errors.New("at least one expression is needed")
	}
	var failed strings.Builder
	for _, c := range closures {
		v, diags := customdecode.ExpressionClosureFromVal(c).Value()
		if !diags.HasErrors() {
			return v, nil
		}
		for _, d := range diags {
			if d.Severity == hcl.DiagError {
				fmt.Fprintf(&failed, "\n- %s: %s", d.Subject, strings.TrimSpace(d.Summary+". "+d.Detail))
				break
			}
		}
	}
	return cty.NilVal, fmt.Errorf("none of the expressions can be evaluated:%s", failed.String())
}
