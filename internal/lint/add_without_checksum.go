package lint

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/exec/buildkit"
)

func addWithoutChecksum() *Rule {
	return &Rule{
		Name: "add-without-checksum", Severity: hcl.DiagWarning,
		Title: "ADD of a URL without --checksum, or of a repository without a commit",
		Why:   `Whoever serves the address decides what is in the image, and it may be something else tomorrow.`,
		Bad: `-- build.hcl --
target "default" {}
-- Dockerfile --
FROM scratch
ADD https://example.com/tool.tar.gz /
`,
		Good: `-- build.hcl --
target "default" {}
-- Dockerfile --
FROM scratch
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.com/tool.tar.gz /
`,
		check: func(p *pass) {
			seen := map[*buildkit.DockerfileText]bool{}
			for _, x := range p.s.Examined {
				if x.Text == nil || x.Text.Path != "" && seen[x.Text] {
					continue // of those in build files each is at a place of its own
				}
				seen[x.Text] = true
				for _, a := range x.Text.Adds {
					if a.Pinned {
						continue
					}
					at, extra := p.place(x.Target, a.Range)
					remedy := "Add --checksum=sha256:… with the digest of what it is to be."
					if a.Git {
						remedy = "Add #COMMIT with the whole name of a commit, or --checksum=COMMIT."
					}
					p.report(at, "ADD fetches %s, and nothing says what is to be there. %s%s", diagURL(a.URL), remedy, extra)
				}
			}
		},
	}
}
