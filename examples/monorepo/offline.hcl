# Stand-ins for images that would be pulled; see ../offline/README.md.
include "../offline/build.hcl" {}
