package buildkit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stepEffects are those of how RUN steps run.
func stepEffects() []effect {
	// run builds one target with a step, whose output is the directory out.
	run := func(attrs, step string, want map[string]string) func(*testing.T, *lab) {
		return func(t *testing.T, l *lab) {
			l.must(t, "target \"t\" {\n"+attrs+"\ndockerfile-inline = \"${sh}"+step+"\\n\"\noutput = [\"out\"]\n}")
			l.contents(t, want)
		}
	}
	return []effect{
		{"secret", "file, variable, either", secretEffect},
		{"ssh", "agent and key", sshEffect},
		{"no-cache", "every step again", func(t *testing.T, l *lab) { againEffect(t, l, "no-cache = true", true, true) }},
		{"no-cache-filter", "steps of a stage again", func(t *testing.T, l *lab) { againEffect(t, l, `no-cache-filter = ["two"]`, false, true) }},
		{"network", "none", run(`network = "none"`, `RUN sed -n 's/^ *\\(.*\\):.*/\\1/p' /proc/net/dev > /got`, map[string]string{"out/got": "lo"})},
		{"network", "host", func(t *testing.T, l *lab) {
			link, err := os.Readlink("/proc/self/ns/net")
			if err != nil {
				t.Fatal(err)
			}
			run(`network = "host"`, `RUN readlink /proc/self/ns/net > /got`, map[string]string{"out/got": link})(t, l)
		}},
		{"shm-size", "of the file system", run(`shm-size = "3m"`, `RUN df -k /dev/shm | tail -n 1 | awk '{print $2}' > /got`, map[string]string{"out/got": "3072"})},
		{"ulimits", "soft and hard", run(`ulimits = ["nofile=1011:1022", "core=0"]`, `RUN ulimit -Sn > /soft; ulimit -Hn > /hard; ulimit -c > /core`,
			map[string]string{"out/soft": "1011", "out/hard": "1022", "out/core": "0"})},
		{"resources", "control group", resourcesEffect},
		{"extra-hosts", "in /etc/hosts", run(`extra-hosts = { "db.local" = "10.1.2.3", "six.local" = "[::2]", "two.local" = "10.0.0.1,10.0.0.2" }`,
			`RUN grep local /etc/hosts | grep -v localhost | tr -s '\\t' ' ' | sort | tr '\\n' ';' > /got`,
			map[string]string{"out/got": "10.0.0.1 two.local;10.0.0.2 two.local;10.1.2.3 db.local;::2 six.local;"})},
		{"entitlements", "granted and refused", entitlementEffect},
	}
}

func secretEffect(t *testing.T, l *lab) {
	l.files(t, map[string]string{"token.txt": "of the file", "implied": "of the implied file"})
	l.env = []string{"TOKEN", "of the variable", "both", "of the implied variable"}
	l.must(t, `target "t" {
		secret = ["id=a,src=token.txt", { id = "b", env = "TOKEN" }, "type=env,id=TOKEN", "id=implied", "id=both"]
		dockerfile-inline = <<E
${sh}RUN --mount=type=secret,id=a --mount=type=secret,id=b,target=/x --mount=type=secret,id=TOKEN,env=T \
	--mount=type=secret,id=implied,mode=0444 --mount=type=secret,id=both --mount=type=secret,id=nosuch \
	cat /run/secrets/a > /a; cat /x > /b; echo $T > /c; cat /run/secrets/implied > /d; cat /run/secrets/both > /e; ls /run/secrets/nosuch || echo none > /f
E
		output = ["out"]
	}
	target "required" {
		dockerfile-inline = "${sh}RUN --mount=type=secret,id=a,required=true true\n"
		output = ["type=cacheonly"]
	}`, "t")
	l.contents(t, map[string]string{"out/a": "of the file", "out/b": "of the variable", "out/c": "of the variable",
		"out/d": "of the implied file", "out/e": "of the implied variable", "out/f": "none"})
	for _, hcl := range []string{
		`target "t" { dockerfile-inline = "${sh}RUN --mount=type=secret,id=a,required=true true\n" }`,
		`target "t" {
			secret = ["id=b,src=token.txt"]
			dockerfile-inline = "${sh}RUN --mount=type=secret,id=a,required=true true\n"
		}`,
	} {
		l.refused(t, "secret", hcl)
	}
	_, err := l.build(t, `target "one" {
		secret = ["id=a,src=gone1"]
		dockerfile-inline = "FROM scratch\nCOPY token.txt /\n"
		output = ["one"]
	}
	target "two" {
		secret = ["id=a,src=gone2"]
		dockerfile-inline = "FROM scratch\n"
	}
	target "three" {
		dockerfile-inline = "FROM scratch\nCOPY token.txt /\n"
		output = ["three"]
	}`)
	if err == nil || !strings.Contains(err.Error(), "gone1") || !strings.Contains(err.Error(), "gone2") {
		t.Errorf("the error does not tell of both files: %v", err)
	}
	l.absent(t, "three")
}

func sshEffect(t *testing.T, l *lab) {
	key, sock := sshKey(t), sshAgent(t)
	l.files(t, map[string]string{"key": key})
	if err := os.Chmod(filepath.Join(l.dir, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.env = []string{"SSH_AUTH_SOCK", sock}
	l.must(t, `target "t" {
		ssh = ["default", "deploy=key"]
		dockerfile-inline = <<E
${sh}RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo agent > /a
RUN --mount=type=ssh,id=deploy,target=/k,uid=7 test -S /k && stat -c %u /k > /b
E
		output = ["out"]
	}`)
	l.contents(t, map[string]string{"out/a": "agent", "out/b": "7"})
	l.refused(t, "other", `target "t" { dockerfile-inline = "${sh}RUN --mount=type=ssh,id=other,required=true true\n" }`)
	l.env = nil
	l.refused(t, "SSH_AUTH_SOCK is not set", `target "t" {
		ssh = ["default"]
		dockerfile-inline = "FROM scratch\n"
	}`)
}

// againEffect builds twice, the second time with attrs, and looks which stages
// ran again.
func againEffect(t *testing.T, l *lab, attrs string, first, second bool) {
	var one, two [2]string
	for i, a := range []string{"", attrs} {
		l.must(t, `target "t" {
			dockerfile-inline = <<E
FROM scratch AS one
COPY busybox /bin/sh
ENV PATH=/bin
RUN echo `+t.Name()+`; cat /proc/sys/kernel/random/uuid > /1
FROM one AS two
RUN cat /proc/sys/kernel/random/uuid > /2
E
			output = ["out"]
			`+a+"\n}")
		one[i], two[i] = l.read(t, "out/1"), l.read(t, "out/2")
	}
	if again := one[0] != one[1]; again != first {
		t.Errorf("the first stage ran again: %t", again)
	}
	if again := two[0] != two[1]; again != second {
		t.Errorf("the second stage ran again: %t", again)
	}
}

// resourcesEffect looks at the control group of a step.
func resourcesEffect(t *testing.T, l *lab) {
	l.must(t, `target "t" {
		resources = { memory = "64m", memory-swap = "128m", cpu-shares = 512, cpu-quota = 50000, cpu-period = 100000, cpuset-cpus = "0", cpuset-mems = "0" }
		dockerfile-inline = <<E
${sh}RUN cd /sys/fs/cgroup; \
	if test -e memory.max; then cat memory.max cpu.max cpuset.cpus cpuset.mems; \
	else cat memory/memory.limit_in_bytes; echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us); cat cpuset/cpuset.cpus cpuset/cpuset.mems; fi > /got; \
	cat memory.swap.max memory/memory.memsw.limit_in_bytes > /swap 2>/dev/null; cat cpu.weight cpu/cpu.shares > /shares 2>/dev/null; true
E
		output = ["out"]
	}`)
	l.contents(t, map[string]string{"out/got": "67108864\n50000 100000\n0\n0"})
	if got := strings.TrimSpace(l.read(t, "out/swap")); got != "67108864" && got != "134217728" && got != "" { // v2, v1, a kernel that does not count swap
		t.Errorf("the limit of swap is %s", got)
	}
	if got := strings.TrimSpace(l.read(t, "out/shares")); got != "512" && got != "20" && got != "59" { // v1; v2 by the old conversion and by the new
		t.Errorf("the shares are %s", got)
	}
}

// entitlementEffect runs what needs a privilege, with it and without.
func entitlementEffect(t *testing.T, l *lab) {
	const insecure = `dockerfile-inline = "${sh}RUN --security=insecure sed -n 's/^CapEff:\\t//p' /proc/self/status > /got\n"`
	const host = `dockerfile-inline = "${sh}RUN --network=host readlink /proc/self/ns/net > /got\n"`
	link, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	l.must(t, `target "i" {
		entitlements = ["security.insecure"]
		`+insecure+`
		output = ["i"]
	}
	target "h" {
		entitlements = ["network.host"]
		`+host+`
		output = ["h"]
	}
	target "usual" {
		dockerfile-inline = "${sh}RUN sed -n 's/^CapEff:\\t//p' /proc/self/status > /got\n"
		output = ["usual"]
	}`)
	l.contents(t, map[string]string{"h/got": link})
	if l.read(t, "i/got") <= l.read(t, "usual/got") {
		t.Errorf("the capabilities are %s with the entitlement, %s without", l.read(t, "i/got"), l.read(t, "usual/got"))
	}
	l.refused(t, "security.insecure is not allowed", "target \"t\" {\n"+insecure+"\n}")
	l.refused(t, "network.host is not allowed", "target \"t\" {\n"+host+"\n}")
}
