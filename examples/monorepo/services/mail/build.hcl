target "mail" {
  inherits = ["python-service"]
  variants = ["prod", "dev"]
  args     = { SERVICE = "mail" }
  tags     = ["${image("mail")}-${variant}"]
}
