package scaffold

import (
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// A link is a context: an image that another target builds.
type link struct{ ref, to string }

// linkTargets finds the images that one target builds and another begins from.
func (s *scaffold) linkTargets() {
	needs := map[string][]string{} // by name, to keep from going round
	for _, t := range s.targets {
		for _, ref := range t.images {
			to := s.builder(t, ref)
			if to == "" || to == t.name || reaches(needs, to, t.name) {
				continue
			}
			needs[t.name] = append(needs[t.name], to)
			t.contexts = append(t.contexts, link{ref, s.instance(t, to)})
		}
	}
}

// reaches reports whether one target needs another in any number of steps.
func reaches(needs map[string][]string, from, to string) bool {
	return slices.ContainsFunc(needs[from], func(next string) bool { return next == to || reaches(needs, next, to) })
}

// builder returns the target that builds an image, "" if none does. A target
// of a set says so by a tag. Of the others only names are known: it has to be
// the image's, and the image this repository's own, which one in the owner's
// namespace is, and one without a namespace that is none of Docker's official
// images. A target that begins from the same image only adds to it.
func (s *scaffold) builder(t *target, ref string) string {
	repo := repository(ref)
	if repo == "" {
		return ""
	}
	for _, k := range s.known {
		if slices.Contains(k.repos, repo) {
			return k.name
		}
	}
	for _, other := range s.targets {
		if other == t || !strings.EqualFold(other.name, path.Base(repo)) || !s.isOwn(repo) {
			continue
		}
		if !slices.ContainsFunc(other.images, func(image string) bool { return repository(image) == repo }) {
			return other.name
		}
	}
	return ""
}

// repository is the name of an image without tag and digest, in its familiar
// form: "alpine", "acme/base", "ghcr.io/acme/base"; "" if it is none.
func repository(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	return reference.FamiliarName(named)
}

// isOwn reports whether an image may be one of this repository's.
func (s *scaffold) isOwn(repo string) bool {
	parts := strings.Split(repo, "/")
	if len(parts) == 1 {
		return !slices.Contains(officialImages, repo)
	}
	return slices.ContainsFunc(parts[:len(parts)-1], func(p string) bool {
		return strings.EqualFold(p, s.Owner) && s.Owner != "" || strings.EqualFold(p, s.Name)
	})
}

// officialImages are the images of Docker Hub without a namespace that one
// often begins from.
var officialImages = []string{
	"adoptopenjdk", "almalinux", "alpine", "alt", "amazoncorretto", "amazonlinux", "archlinux", "bash", "buildpack-deps", "busybox",
	"caddy", "cassandra", "centos", "chronograf", "clearlinux", "clojure", "composer", "consul", "couchbase", "couchdb", "dart", "debian",
	"docker", "drupal", "eclipse-mosquitto", "eclipse-temurin", "elasticsearch", "elixir", "erlang", "fedora", "fluentd", "gcc", "ghost",
	"golang", "gradle", "groovy", "haproxy", "haskell", "hello-world", "httpd", "ibmjava", "influxdb", "java", "jenkins", "jetty", "joomla",
	"jruby", "julia", "kibana", "kong", "logstash", "mariadb", "maven", "mediawiki", "memcached", "mongo", "mono", "mysql", "nats",
	"neo4j", "nextcloud", "nginx", "node", "odoo", "openjdk", "oraclelinux", "perl", "php", "postgres", "pypy", "python", "r-base",
	"rabbitmq", "redis", "redmine", "registry", "rethinkdb", "rockylinux", "ruby", "rust", "sapmachine", "scratch", "solr", "sonarqube",
	"spark", "swift", "telegraf", "tomcat", "traefik", "ubuntu", "unit", "varnish", "vault", "wordpress", "zookeeper",
}

// instance returns the name by which t links to a target: where that has all
// of t's variants, by its own name, and each reads its like; else its first
// variant, which is the one to be deployed.
func (s *scaffold) instance(t *target, name string) string {
	at := slices.IndexFunc(s.targets, func(other *target) bool { return other.name == name })
	if at < 0 || len(s.targets[at].variants) == 0 {
		return name
	}
	other := s.targets[at]
	has := func(v variant) bool {
		return slices.ContainsFunc(other.variants, func(o variant) bool { return o.name == v.name })
	}
	if len(t.variants) > 0 && !slices.ContainsFunc(t.variants, func(v variant) bool { return !has(v) }) {
		return name
	}
	return name + "-" + other.variants[0].name
}
