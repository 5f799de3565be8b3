target "web" {
  inherits = ["python-service"]
  variants = ["prod", "dev"]
  args     = { SERVICE = "web" }
  tags     = ["${image("web")}-${variant}"]
}
