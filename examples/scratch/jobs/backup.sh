#!/bin/sh
# Writes what is in /srv to standard output.
set -eu
tar -C /srv -czf - .
