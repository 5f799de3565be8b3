package cli

import (
	"strings"

	"github.com/kilnbuild/kiln/internal/engine"
	"github.com/kilnbuild/kiln/internal/reference"
)

// environment lists the environment variables that kiln reads, for the
// reference and `kiln help environment`.
func environment() []reference.Variable {
	all := append([]reference.Variable{}, builderVariables...)
	for _, v := range engine.Variables() {
		doc, def, _ := strings.Cut(strings.TrimSuffix(v.Doc, ")"), " (default ")
		if d, other, ok := strings.Cut(doc, " (default: "); ok {
			doc, def = d, other
		}
		all = append(all, reference.Variable{Name: v.Name, Topic: "The engine", Doc: doc, Default: def})
	}
	return append(all, otherVariables...)
}

var builderVariables = []reference.Variable{
	{Name: "KILN_BUILDERS", Topic: "The builder", Doc: "the BuildKits to spread the targets over, as --builder repeated, with commas or blanks between them; wins over KILN_BUILDER"},
	{Name: "KILN_BUILDER", Topic: "The builder", Doc: "address of the BuildKit to use, as --builder", Default: "the user's configuration, else kiln's own engine"},
	{Name: "KILN_CONFIG", Topic: "The builder", Doc: "the user's configuration file, in which builder = \"docker\" chooses the builder where neither a flag nor a variable does", Default: "kiln/config.hcl in XDG_CONFIG_HOME"},
	{Name: "XDG_CONFIG_HOME", Topic: "The builder", Doc: "directory of the user's configuration files", Default: "~/.config"},
	{Name: "BUILDKIT_HOST", Topic: "The builder", Doc: "address of a BuildKit daemon, if KILN_BUILDER says nothing"},
	{Name: "KILN_TLS_CA", Topic: "The builder", Doc: "file with the authority that signed the certificates of tcp:// builders, if --tls-ca says nothing"},
	{Name: "KILN_TLS_CERT", Topic: "The builder", Doc: "file with the client certificate for them, if --tls-cert says nothing"},
	{Name: "KILN_TLS_KEY", Topic: "The builder", Doc: "file with the key of that certificate, if --tls-key says nothing"},
	{Name: "KILN_TLS_SERVER_NAME", Topic: "The builder", Doc: "name to expect in the builders' certificates, if --tls-server-name says nothing", Default: "the host of the address"},
	{Name: "BUILDX_BUILDER", Topic: "The builder", Doc: "name of a buildx builder to use, if neither of the others says anything"},
	{Name: "BUILDX_CONFIG", Topic: "The builder", Doc: "directory in which buildx keeps its builders", Default: "buildx in the Docker client's configuration"},
	{Name: "DOCKER_HOST", Topic: "The builder", Doc: "address of the Docker Engine that builds (--builder docker), and that images are loaded into: unix://, tcp:// or ssh://", Default: "the current context of the Docker client"},
	{Name: "DOCKER_CONTEXT", Topic: "The builder", Doc: "context of the Docker client to use, if DOCKER_HOST says nothing"},
	{Name: "DOCKER_TLS_VERIFY", Topic: "The builder", Doc: "anything: a Docker Engine at tcp:// is spoken to by TLS, and its certificate is checked"},
	{Name: "DOCKER_TLS", Topic: "The builder", Doc: "anything: it is spoken to by TLS, whatever its certificate"},
	{Name: "DOCKER_CERT_PATH", Topic: "The builder", Doc: "directory with ca.pem, cert.pem and key.pem for it", Default: "DOCKER_CONFIG"},
	{Name: "DOCKER_CONFIG", Topic: "The builder", Doc: "directory of the Docker client's configuration, for credentials of registries and proxy settings", Default: "~/.docker"},
	{Name: "REGISTRY_AUTH_FILE", Topic: "Registries", Doc: "file with the credentials that podman login keeps, asked after the Docker client's; then come those in XDG_RUNTIME_DIR and XDG_CONFIG_HOME"},
	{Name: "CONTAINERD_ADDRESS", Topic: "Loading", Doc: "socket of the containerd that kiln load --to containerd loads into", Default: "/run/containerd/containerd.sock"},
	{Name: "CONTAINERD_NAMESPACE", Topic: "Loading", Doc: "its namespace, if --namespace says nothing", Default: "default"},
	{Name: "CONTAINER_HOST", Topic: "Loading", Doc: "address of the service of Podman for kiln load --to podman, where there is no podman command; unix://PATH", Default: "podman/podman.sock in XDG_RUNTIME_DIR or /run"},
	{Name: "XDG_RUNTIME_DIR", Topic: "Registries", Doc: "directory of the user's session, for containers/auth.json, and in which `kiln builders` looks for sockets", Default: "/run/containers/UID, where that file is auth.json"},
	{Name: "TMPDIR", Topic: "Registries", Doc: "directory for what is read of packed archives and of standard input by kiln import and its kin", Default: "/tmp"},
	{Name: "SSH_AUTH_SOCK", Topic: "The builder", Doc: "socket of the SSH agent that targets may use"},
	{Name: "KILN_ENGINE", Topic: "The engine", Doc: "how kiln's own BuildKit runs: shared, or in-process", Default: "shared"},
}

var otherVariables = []reference.Variable{
	{Name: "BUILDX_BAKE_FILE", Topic: "Build files", Doc: "build files to read if there is no -f, a list", Default: "the nearest build.hcl, else bake's names"},
	{Name: "BUILDX_BAKE_PATH_SEPARATOR", Topic: "Build files", Doc: "what separates the entries of BUILDX_BAKE_FILE", Default: ": (; on Windows)"},
	{Name: "BUILDX_BAKE_FILE_RELATIVE_PATHS", Topic: "Build files", Doc: "true: contexts in bake's files are relative to the file that says them", Default: "false"},
	{Name: "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", Topic: "Build files", Doc: "true: variables of build files are not set from the environment", Default: "false"},
	{Name: "SOURCE_DATE_EPOCH", Topic: "Build files", Doc: "build argument of every target that does not set it itself: the time to use in results, in seconds since 1970"},
	{Name: "BUILDX_BAKE_GIT_AUTH_TOKEN", Topic: "Remote definitions", Doc: "token for the git server of a remote definition; targets get it that have a context there"},
	{Name: "BUILDX_BAKE_GIT_AUTH_HEADER", Topic: "Remote definitions", Doc: "value of the Authorization header for that server"},
	{Name: "BUILDX_BAKE_GIT_SSH", Topic: "Remote definitions", Doc: "SSH agent sockets or keys to fetch it with, with commas between them", Default: "SSH_AUTH_SOCK"},
	{Name: "BUILDX_BAKE_GIT_ADVICE", Topic: "Remote definitions", Doc: "true: let git print its advice", Default: "false"},
	{Name: "BUILDX_BAKE_ENTITLEMENTS_FS", Topic: "Privileges", Doc: "false: builds may read and write files anywhere without --allow", Default: "true"},
	{Name: "BAKE_ALLOW_REMOTE_FS_ACCESS", Topic: "Privileges", Doc: "true: the same, for remote definitions only, if BUILDX_BAKE_ENTITLEMENTS_FS says nothing", Default: "false"},
	{Name: "KILN_RETRIES", Topic: "The run", Doc: "how often to try again what the network failed, where --retries does not say", Default: "2"},
	{Name: "ACTIONS_RUNTIME_TOKEN", Topic: "Caches", Doc: "token of GitHub's cache, for caches of type gha; without one they are left out. ACTIONS_CACHE_URL and ACTIONS_RESULTS_URL are its addresses, ACTIONS_CACHE_SERVICE_V2 says whether the second is used"},
	{Name: "AWS_ACCESS_KEY_ID", Topic: "Caches", Doc: "with AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_BUCKET, what a cache of type s3 does not say itself"},
	{Name: "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", Topic: "Caches", Doc: "with …_ACCOUNT_NAME, …_SECRET_ACCESS_KEY, …_CONTAINER and …_PREFIX, what a cache of type azblob does not say itself"},
	{Name: "BUILDX_NO_DEFAULT_ATTESTATIONS", Topic: "Results", Doc: "true: no provenance but what a target asks for", Default: "false"},
	{Name: "BUILDX_GIT_INFO", Topic: "Results", Doc: "false: provenance does not say commit and repository", Default: "true"},
	{Name: "BUILDX_GIT_LABELS", Topic: "Results", Doc: "true: labels of the image say commit and repository", Default: "false"},
	{Name: "BUILDX_GIT_CHECK_DIRTY", Topic: "Results", Doc: "true: the commit has -dirty at its end if the work tree differs from it", Default: "false"},
	{Name: "BUILDX_METADATA_WARNINGS", Topic: "Results", Doc: "true: the metadata file has the warnings of the run, too", Default: "false"},
	{Name: "BUILDX_METADATA_PROVENANCE", Topic: "Results", Doc: "how much provenance goes into the metadata file, where the builder keeps records of builds (kiln's own: KILN_ENGINE_RECORDS): min, max, or disabled, with which kiln builds faster, but has no buildx.build.ref either", Default: "min"},
	{Name: "BUILDX_NO_DEFAULT_LOAD", Topic: "Results", Doc: "true: a Docker Engine keeps an image without an output in its build cache only. No effect with other builders: there it goes to kiln's image store, or nowhere", Default: "false"},
	{Name: "BUILDX_NO_DEFAULT_OCI_ARTIFACT", Topic: "Results", Doc: "true: attestations are written in the form of images, for registries that know no OCI artifacts", Default: "false"},
	{Name: "BUILDX_DEFAULT_POLICY", Topic: "Results", Doc: "no effect: kiln has no source policy of its own, and refuses a Dockerfile.rego, which it cannot enforce"},
	{Name: "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", Topic: "Results", Doc: "file of a source policy, in BuildKit's JSON, that the daemon enforces for all targets"},
	{Name: "BUILDKIT_COLORS", Topic: "The terminal", Doc: "no effect: kiln's colours are fixed"},
	{Name: "BUILDKIT_TTY_LOG_LINES", Topic: "The terminal", Doc: "no effect: a target has one row; its log is shown if it fails, or on a key"},
	{Name: "KILN_STUCK_AFTER", Topic: "The terminal", Doc: "how long nothing is heard of a step before that is told, where --stuck-after does not say; 0 is never", Default: "5m"},
	{Name: "GITHUB_ACTIONS", Topic: "The terminal", Doc: "true: the log is for GitHub, a fold for each target, and failures and warnings are marked at their lines"},
	{Name: "GITHUB_WORKSPACE", Topic: "The terminal", Doc: "directory that the files of those marks are named from", Default: "the working directory"},
	{Name: "GITLAB_CI", Topic: "The terminal", Doc: "true: the log is for GitLab, a section for each target"},
	{Name: "BUILDKIT_PROGRESS", Topic: "The terminal", Doc: "how to show progress, where --progress does not say", Default: "auto"},
	{Name: "GITHUB_STEP_SUMMARY", Topic: "Reports", Doc: "file that a summary of the build is added to, in Markdown; GitHub Actions sets it"},
	{Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Topic: "Reports", Doc: "address of an OpenTelemetry collector; spans of the run, its targets and steps are sent there when the build is over. the other OTEL_EXPORTER_OTLP_… variables (HEADERS, CERTIFICATE, COMPRESSION) are heeded as OpenTelemetry has them"},
	{Name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Topic: "Reports", Doc: "the same for spans only, as a whole URL"},
	{Name: "OTEL_EXPORTER_OTLP_PROTOCOL", Topic: "Reports", Doc: "how spans are sent: http/protobuf or grpc", Default: "http/protobuf"},
	{Name: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", Topic: "Reports", Doc: "the same for spans only"},
	{Name: "OTEL_EXPORTER_OTLP_TIMEOUT", Topic: "Reports", Doc: "how long the collector may keep a finished build waiting, in milliseconds", Default: "1500"},
	{Name: "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", Topic: "Reports", Doc: "the same for spans only"},
	{Name: "OTEL_SERVICE_NAME", Topic: "Reports", Doc: "name of the service that the spans belong to; OTEL_RESOURCE_ATTRIBUTES says what else does", Default: "kiln"},
	{Name: "OTEL_SDK_DISABLED", Topic: "Reports", Doc: "true: no spans are sent", Default: "false"},
	{Name: "OTEL_TRACES_EXPORTER", Topic: "Reports", Doc: "none: no spans are sent", Default: "otlp"},
	{Name: "TRACEPARENT", Topic: "Reports", Doc: "the span that the run's belongs to, as of W3C Trace Context", Default: "a trace of its own"},
	{Name: "TRACESTATE", Topic: "Reports", Doc: "what else belongs to that trace, likewise"},
	{Name: "NO_COLOR", Topic: "The terminal", Doc: "anything: no colour"},
	{Name: "TERM", Topic: "The terminal", Doc: "dumb: no colour and nothing that moves"},
	{Name: "GOGC", Topic: "The process", Doc: "how often kiln collects its memory's garbage, in percent, in place of its own choice"},
	{Name: "GOMEMLIMIT", Topic: "The process", Doc: "memory above which garbage is collected, as 500MiB; if it is set, kiln leaves the collector as it is"},
}
