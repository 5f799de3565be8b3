target "gateway" {
  inherits = ["go-service"]
  variants = ["prod", "dev"]
  args     = { SERVICE = "gateway" }
  tags     = ["${image("gateway")}-${variant}"]
}
