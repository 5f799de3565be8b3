#!/bin/sh
# Says how much there is in /srv.
set -eu
find /srv -type f | wc -l
