package config

import "time"

// A rule says what becomes of an attribute that several layers set.
type rule string

const (
	ruleReplace rule = "replace"             // the upper layer's value stands alone
	ruleByKey   rule = "merge by key"        // the upper layer wins a key
	ruleAppend  rule = "append"              // the lower layer's entries first; repeats dropped
	ruleByID    rule = "append, last by key" // as append, but of entries with one key the last is kept
	ruleNone    rule = ""                    // belongs to the block and is not inherited
)

// An attribute is all that kiln knows of one attribute of a target block. The
// schema, merging, --set, decoding and the reference are read from the table
// of them, so that a new attribute is a field of Target, a row here and its
// lowering.
type attribute struct {
	name    string
	kind    *kind
	rule    rule
	set     setForm  // what --set may do with it
	aliases []string // further keys of --set
	fill    func(t *Target, v any)
	def     string // what holds if nothing sets it
	doc     string
	example string
}

// Places of the attributes that code refers to by themselves.
const (
	attrName = iota
	attrMatrix
	attrVariants
	attrInherits
	attrDependsOn
	attrDescription
	attrContext
	attrContexts
	attrDockerfile
	attrArgs
	attrNetwork
	attrOutput
	attrPlatforms
	attrAnnotations
	attrUlimits
	attrShmSize
	attrResources
	attrSecret
	attrEntitlements
	attrDockerfileInline
	attrTarget
	attrLabels
	attrTags
	attrCacheFrom
	attrCacheTo
	attrSSH
	attrAttest
	attrPolicy
	attrPull
	attrNoCache
	attrNoCacheFilter
	attrExtraHosts
	attrCall
	attrWeight
	attrTimeout
	attrCount
)

// attributes is the table, in the order of the constants above.
var attributes = [attrCount]attribute{
	attrName: {name: "name", kind: textKind,
		doc:     "Name of each instance of a target with a matrix; a template in which the axes of the matrix are variables.",
		example: `name = "app-${version}"`},
	attrMatrix: {name: "matrix", kind: matrixKind,
		doc:     "Declares one instance of the target for each combination of the values of its axes, in the order written, the last axis fastest. The axes are variables in the target's expressions.",
		example: `matrix = { version = ["1.0", "1.1"] }`},
	attrVariants: {name: "variants", kind: listKind,
		doc:     "Declares one instance of the target for each named variant. What a variant changes stands in variant blocks, at the top level or in the target.",
		example: `variants = ["prod", "dev"]`},
	attrInherits: {name: "inherits", kind: listKind,
		doc:     "Targets whose attributes this one begins with, later ones over earlier ones.",
		example: `inherits = ["_common"]`},
	attrDependsOn: {name: "depends-on", kind: listKind, rule: ruleAppend, set: setList, fill: nil,
		doc:     "Targets and groups that are built and exported before this target, without being read by it.",
		example: `depends-on = ["migrations"]`},
	attrDescription: {name: "description", kind: describeKind, rule: ruleReplace, fill: func(t *Target, v any) { t.Description = v.(string) },
		doc:     "What the target is for, as lists of targets show it.",
		example: `description = "the public API"`},
	attrContext: {name: "context", kind: contextKind, rule: ruleReplace, set: setText, def: ".",
		doc:     "Where the files of the build come from: a local directory, or a URL or git repository that BuildKit fetches.",
		example: `context = "services/api"`},
	attrContexts: {name: "contexts", kind: contextsKind, rule: ruleByKey, set: setKeys,
		doc:     "Further contexts, by the name that the Dockerfile uses: a local directory, a URL, docker-image://REF, oci-layout://PATH, store://REF (an image of kiln's own store) or target:NAME. An empty value removes one that was inherited.",
		example: `contexts = { base = "target:base" }`},
	attrDockerfile: {name: "dockerfile", kind: textKind, rule: ruleReplace, set: setText, def: "Dockerfile", fill: func(t *Target, v any) { t.Dockerfile = v.(string) },
		doc:     "Path of the Dockerfile within the context; after cwd:// it is relative to the working directory.",
		example: `dockerfile = "build/Dockerfile"`},
	attrDockerfileInline: {name: "dockerfile-inline", kind: textKind, rule: ruleReplace, fill: func(t *Target, v any) { t.DockerfileInline = v.(string) },
		doc:     "Text of the Dockerfile; wins over dockerfile.",
		example: `dockerfile-inline = "FROM alpine\n"`},
	attrTarget: {name: "target", kind: textKind, rule: ruleReplace, set: setText, fill: func(t *Target, v any) { t.Stage = v.(string) }, def: "the last stage",
		doc:     "Stage of the Dockerfile to build.",
		example: `target = "release"`},
	attrArgs: {name: "args", kind: mapKind, rule: ruleByKey, set: setKeys, aliases: []string{"arg"}, fill: func(t *Target, v any) { t.Args = v.([]KeyValue) },
		doc:     "Build arguments. An argument that is null is not set.",
		example: `args = { GO_VERSION = "1.26" }`},
	attrLabels: {name: "labels", kind: mapKind, rule: ruleByKey, set: setKeys, aliases: []string{"label"}, fill: func(t *Target, v any) { t.Labels = v.([]KeyValue) },
		doc:     "Labels of the image. A label that is null is not set.",
		example: `labels = { "org.opencontainers.image.source" = "https://example.com/app" }`},
	attrAnnotations: {name: "annotations", kind: listKind, rule: ruleAppend, set: setListAppend, aliases: []string{"annotation"}, fill: func(t *Target, v any) { t.Annotations = v.([]string) },
		doc:     "OCI annotations, as [TYPE[PLATFORM]:]KEY=VALUE with the types manifest, index, manifest-descriptor and index-descriptor.",
		example: `annotations = ["index:org.opencontainers.image.title=app"]`},
	attrAttest: {name: "attest", kind: attestKind, rule: ruleByID, set: setListAppend, fill: func(t *Target, v any) { t.Attest = bare(v.([]based[Attestation])) },
		doc:     "Statements about the result: provenance and SBOM.",
		example: `attest = [{ type = "sbom" }]`},
	attrTags: {name: "tags", kind: listKind, rule: ruleReplace, set: setList, aliases: []string{"tag"}, fill: func(t *Target, v any) { t.Tags = v.([]string) },
		doc:     "References to give the image.",
		example: `tags = ["registry.example.com/app:1.0"]`},
	attrPlatforms: {name: "platforms", kind: listKind, rule: ruleReplace, set: setList, aliases: []string{"platform"}, fill: func(t *Target, v any) { t.Platforms = v.([]string) }, def: "that of the builder",
		doc:     "Platforms to build for, as os/arch[/variant]; local is that of the client.",
		example: `platforms = ["linux/amd64", "linux/arm64"]`},
	attrCacheFrom: {name: "cache-from", kind: cacheKind, rule: ruleAppend, set: setList,
		doc:     "Cache sources. A plain reference is a registry cache.",
		example: `cache-from = ["type=registry,ref=registry.example.com/app:cache"]`},
	attrCacheTo: {name: "cache-to", kind: cacheKind, rule: ruleReplace, set: setList,
		doc:     "Cache destinations.",
		example: `cache-to = [{ type = "local", dest = "out/cache" }]`},
	attrOutput: {name: "output", kind: exportKind, rule: ruleReplace, set: setList,
		doc:     "Where the result goes: image, registry, docker, oci, local, tar or cacheonly. A string without a comma and without type= is a local directory.",
		example: `output = ["type=image,push=true"]`},
	attrSecret: {name: "secret", kind: secretKind, rule: ruleByID, set: setList, aliases: []string{"secrets"},
		doc:     "Secrets that RUN steps may mount, from a file or an environment variable.",
		example: `secret = ["id=npmrc,src=.npmrc"]`},
	attrSSH: {name: "ssh", kind: sshKind, rule: ruleByID, set: setList,
		doc:     "SSH agent or keys that RUN steps may use.",
		example: `ssh = ["default"]`},
	attrPull: {name: "pull", kind: boolKind, rule: ruleReplace, set: setBool, fill: func(t *Target, v any) { t.Pull = v.(bool) }, def: "false",
		doc:     "Whether to look for newer images in the registry.",
		example: `pull = true`},
	attrNoCache: {name: "no-cache", kind: boolKind, rule: ruleReplace, set: setBool, fill: func(t *Target, v any) { t.NoCache = v.(bool) }, def: "false",
		doc:     "Whether to build without using cached results.",
		example: `no-cache = true`},
	attrNoCacheFilter: {name: "no-cache-filter", kind: listKind, rule: ruleAppend, set: setList, fill: func(t *Target, v any) { t.NoCacheFilter = v.([]string) },
		doc:     "Stages to build without using cached results.",
		example: `no-cache-filter = ["deps"]`},
	attrNetwork: {name: "network", kind: textKind, rule: ruleReplace, set: setText, fill: func(t *Target, v any) { t.Network = v.(string) }, def: "default",
		doc:     "Network of RUN steps: default, none or host. With host the target needs the entitlement network.host.",
		example: `network = "none"`},
	attrShmSize: {name: "shm-size", kind: textKind, rule: ruleReplace, set: setText, fill: func(t *Target, v any) { t.ShmSize = v.(string) },
		doc:     "Size of /dev/shm in RUN steps: bytes, or with a unit.",
		example: `shm-size = "128m"`},
	attrUlimits: {name: "ulimits", kind: listKind, rule: ruleAppend, set: setList, aliases: []string{"ulimit"}, fill: func(t *Target, v any) { t.Ulimits = v.([]string) },
		doc:     "Limits of processes in RUN steps, as NAME=SOFT[:HARD].",
		example: `ulimits = ["nofile=1024:2048"]`},
	attrResources: {name: "resources", kind: resourcesKind, rule: ruleByKey, set: setKeys, aliases: []string{"resource"}, fill: func(t *Target, v any) { t.Resources = v.(*Resources) },
		doc:     "What RUN steps may use: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus and cpuset-mems.",
		example: `resources = { memory = "2g", cpu-shares = 512 }`},
	attrCall: {name: "call", kind: textKind, rule: ruleReplace, set: setText, fill: func(t *Target, v any) { t.Call = v.(string) }, def: "build",
		doc:     "What to ask of the frontend instead of a build: check, outline or targets.",
		example: `call = "check"`},
	attrEntitlements: {name: "entitlements", kind: listKind, rule: ruleAppend, set: setListAppend, aliases: []string{"entitlement"}, fill: func(t *Target, v any) { t.Entitlements = v.([]string) },
		doc:     "Privileges that the build needs: network.host, security.insecure or device.",
		example: `entitlements = ["security.insecure"]`},
	attrExtraHosts: {name: "extra-hosts", kind: mapKind, rule: ruleByKey, set: setKeys, aliases: []string{"extra-host"}, fill: func(t *Target, v any) { t.ExtraHosts = v.([]KeyValue) },
		doc:     "Further entries of /etc/hosts in RUN steps: an address by host name.",
		example: `extra-hosts = { "db.local" = "10.0.0.2" }`},
	attrPolicy: {name: "policy", kind: policyKind, rule: ruleAppend, set: setList, fill: func(t *Target, v any) { t.Policy = bare(v.([]based[Policy])) },
		doc:     "Source policies of the build: files in BuildKit's JSON, of rules that allow, deny or convert sources, which the daemon enforces for the target and for those that read it. Of contradicting rules the last wins. Policies in Rego are refused, unless one entry has disabled = true.",
		example: `policy = ["filename=policy.json"]`},
	attrWeight: {name: "weight", kind: weightKind, rule: ruleReplace, set: setText, fill: func(t *Target, v any) { t.Weight = v.(int) }, def: "1",
		doc:     "For how many of the targets that --jobs allows this one counts while it is built and exported; one that is heavier than the limit is built alone.",
		example: `weight = 4`},
	attrTimeout: {name: "timeout", kind: durationKind, rule: ruleReplace, set: setText, fill: func(t *Target, v any) { t.Timeout = v.(time.Duration) }, def: "no limit",
		doc:     "How long building and exporting the target may take, as 90s, 10m or 1h30m, retries among it; 0 is no limit. Time in which it waits for others does not count. A target that takes longer has failed.",
		example: `timeout = "10m"`},
}

// attributeIndex finds an attribute in the table by its name.
var attributeIndex = func() map[string]int {
	index := make(map[string]int, attrCount)
	for i, a := range attributes {
		index[a.name] = i
	}
	return index
}()

// attributeNames lists the names of a target's attributes, for near misses.
var attributeNames = func() []string {
	names := make([]string, 0, attrCount)
	for _, a := range attributes {
		names = append(names, a.name)
	}
	return names
}()

// An AttributeDoc describes one attribute of a target.
type AttributeDoc struct {
	Name    string
	Type    string   // in words: "list of strings"
	Rule    string   // what becomes of it when several layers set it; "" if it is not inherited
	SetKeys []string // keys of --set that change it; none if it cannot be set
	Default string   // "" if nothing is the default
	Doc     string
	Example string // a line of a build file
}

// Attributes describes the attributes of a target, in the order of the
// reference: what makes targets first, then what is built, then how.
func Attributes() []AttributeDoc {
	docs := make([]AttributeDoc, 0, attrCount)
	for _, a := range attributes {
		d := AttributeDoc{Name: a.name, Type: a.kind.words, Rule: string(a.rule), Default: a.def, Doc: a.doc, Example: a.example}
		if a.set != setNothing {
			d.SetKeys = append([]string{a.name}, a.aliases...)
		}
		docs = append(docs, d)
	}
	return docs
}
