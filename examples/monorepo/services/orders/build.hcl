target "orders" {
  inherits = ["go-service"]
  variants = ["prod", "dev"]
  args     = { SERVICE = "orders" }
  tags     = ["${image("orders")}-${variant}"]
}
