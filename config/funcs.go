package config

import (
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty/function"
)

// A FunctionDoc describes one of the functions that expressions may call.
type FunctionDoc struct {
	Name    string
	Topic   string   // what it is listed under: "list", "string", …
	Params  []string // names of the parameters, in order
	Rest    string   // name of the parameter that takes any further ones; "" if there is none
	Doc     string   // one sentence or two
	Example string   // an expression
	Result  string   // what Example yields, as an expression; sets are written as lists
}

// Signature returns the call as documentation shows it: "join(separator, lists...)".
func (d FunctionDoc) Signature() string {
	params := d.Params
	if d.Rest != "" {
		params = append(params[:len(params):len(params)], d.Rest+"...")
	}
	return d.Name + "(" + strings.Join(params, ", ") + ")"
}

// BuiltinFunctions describes all functions there are without being declared,
// in the order of their names.
func BuiltinFunctions() []FunctionDoc {
	docs := make([]FunctionDoc, 0, len(functionTable))
	for _, row := range functionTable {
		f := row.make(&funcEnv{})
		doc := FunctionDoc{
			Name: row.name, Topic: row.topic, Doc: row.doc,
			Example: row.example, Result: row.result,
		}
		for _, p := range f.Params() {
			doc.Params = append(doc.Params, p.Name)
		}
		if p := f.VarParam(); p != nil {
			doc.Rest = p.Name
		}
		docs = append(docs, doc)
	}
	return docs
}

// A functionRow is one function of the table.
type functionRow struct {
	name, topic, doc string
	example, result  string
	make             func(*funcEnv) function.Function
}

// A funcEnv is what functions may know beside their arguments, and the work
// they have left. Functions made with one env share its allowance.
type funcEnv struct {
	Now  func() time.Time // nil is time.Now
	Home string           // home directory; "" if it is not known
	spent
}

// builtins returns the functions of the table by name. They may be called
// from several goroutines.
func builtins(env *funcEnv) map[string]function.Function {
	funcs := make(map[string]function.Function, len(functionTable))
	for _, row := range functionTable {
		funcs[row.name] = row.make(env)
	}
	return funcs
}

// lib takes a function of a library, within the limits of funcs_limit.go.
func lib(f function.Function) func(*funcEnv) function.Function {
	return costly(f, nil)
}

// costly is lib for a function whose result can be much greater than its
// arguments, or that can work for much longer than reading them takes.
func costly(f function.Function, cost costFunc) func(*funcEnv) function.Function {
	return func(env *funcEnv) function.Function { return limited(f, cost, &env.spent) }
}

// plain takes a function as it is.
func plain(f function.Function) func(*funcEnv) function.Function {
	return func(*funcEnv) function.Function { return f }
}
