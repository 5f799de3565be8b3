target "report" {
  inherits = ["python-service"]
  variants = ["prod", "dev"]
  args     = { SERVICE = "report" }
  tags     = ["${image("report")}-${variant}"]
}
