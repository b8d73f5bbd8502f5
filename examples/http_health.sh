#!/usr/bin/env bash
# Whether prices arrive, for cron and monitors, by curl alone: one line, exit code 0 or 1. See docs/gateway.md.
#
#   examples/http_health.sh [http://127.0.0.1:8787]
set -u

url=${1:-http://127.0.0.1:8787}

if ! answer=$(curl --silent --show-error --max-time 5 "$url/readyz" 2>&1); then
  echo "kitefeed does not answer: $answer"
  exit 1
fi
echo "$answer"
[ "$answer" = ready ]
