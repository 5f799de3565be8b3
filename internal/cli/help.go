package cli

import (
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/internal/reference"
)

// Reference returns the pages of docs/reference.
func Reference() []reference.Page {
	return reference.Pages(rootCommand(&app{}), environment())
}

// helpTopics are the parts of the reference that `kiln help TOPIC` prints.
// They are written when asked for.
func helpTopics(a *app) []*cobra.Command {
	topic := func(name, short string, text func() string) *cobra.Command {
		c := &cobra.Command{Use: name, Short: short}
		c.SetHelpFunc(func(c *cobra.Command, _ []string) { _, _ = c.OutOrStdout().Write([]byte(text())) })
		return c
	}
	return []*cobra.Command{
		topic("attributes", "What a target may say", reference.Attributes),
		topic("environment", "The environment variables that kiln reads", func() string { return reference.Environment(environment()) }),
		topic("functions", "The functions that expressions may call", reference.Functions),
	}
}
