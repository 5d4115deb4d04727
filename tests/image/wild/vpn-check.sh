#!/bin/sh
# Somebody's own idea of health: a handshake of late, the route, and a page.
shaken=$(wg show wg0 latest-handshakes | awk '{print $2}')
[ "$(( $(date +%s) - ${shaken:-0} ))" -lt 180 ] || exit 1
ip route get 1.1.1.1 | grep -q 'dev wg0' || exit 1
address=$(curl -s -f --max-time 5 "$PAGE") || exit 1
echo "$address" | grep -vqE '^(10\.|192\.168\.)'
