package graph

import (
	"testing"

	"github.com/kilnbuild/kiln/config"
)

func TestPart(t *testing.T) {
	from := func(name string) config.NamedSource {
		return config.NamedSource{Name: name, From: config.FromTarget{Target: name}}
	}
	g, diags := New(&config.Config{Targets: []*config.Target{
		{Name: "base"}, {Name: "other"},
		{Name: "app", Contexts: []config.NamedSource{from("base"), from("other")}},
		{Name: "late", DependsOn: []config.Ref{{Name: "other"}}},
	}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	part := g.Part(func(n *Node) *config.Target {
		if n.Name() == "other" {
			return nil
		}
		c := *n.Target
		c.Stage = "of the part"
		return &c
	})
	if got := len(part.Nodes()); got != 3 || part.Node("other") != nil {
		t.Fatalf("%d nodes, other is %v", got, part.Node("other"))
	}
	app, base := part.Node("app"), part.Node("base")
	if len(app.Needs) != 1 || app.Needs[0] != base || len(base.Needers) != 1 || base.Needers[0] != app {
		t.Errorf("app needs %v, base is needed by %v", app.Needs, base.Needers)
	}
	if app.Target.Stage != "of the part" || g.Node("app").Target.Stage != "" {
		t.Error("the target of the part is not its own")
	}
	if late := part.Node("late"); len(late.After) != 1 || late.After[0] != g.Node("other") {
		t.Errorf("late comes after %v", late.After)
	}
}
