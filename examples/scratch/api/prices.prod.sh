#!/bin/sh
printf 'Content-Type: application/json\r\n\r\n'
awk -F , 'BEGIN { printf "{" } { printf "%s\"%s\":%d", (NR > 1 ? "," : ""), $1, $2 } END { print "}" }' /srv/prices.csv
