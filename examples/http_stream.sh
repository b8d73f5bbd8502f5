#!/usr/bin/env bash
# Prices as they change, by curl alone: one JSON object a line, {"type": "quotes", "quotes": [...]}. See docs/gateway.md.
#
#   examples/http_stream.sh http://127.0.0.1:8787 NSE:INFY "NSE:NIFTY 50"
#
# A price counts while its "fresh" is true, and only until the next line: "lost" says that the stream has ended.
set -u

url=$1
shift
wanted=()
for name in "$@"; do wanted+=(--data-urlencode "i=$name"); done

while true; do
  # A pulse comes each second: 5 s without a byte are a stream that is dead, though the connection stands.
  curl --silent --no-buffer --get --speed-limit 1 --speed-time 5 "${wanted[@]}" --data rate=2 "$url/api/stream" |
    while IFS= read -r line; do
      case $line in
        'event: '*) event=${line#event: } ;;
        'data: '*) [ "$event" = pulse ] || printf '%s\n' "${line#data: }" ;;
      esac
    done
  echo '{"type": "lost"}'
  sleep 1
done
