target "stock" {
  inherits = ["go-service"]
  variants = ["prod", "dev"]
  args     = { SERVICE = "stock" }
  tags     = ["${image("stock")}-${variant}"]
}
