#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
cat /srv/prices.csv
env | sort
