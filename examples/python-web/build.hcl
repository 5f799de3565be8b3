target "web" {
  tags = ["python-web:latest"]
}
