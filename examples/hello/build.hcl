# The smallest build: one image with one file in it.
target "hello" {
  tags = ["hello:latest"]
}
