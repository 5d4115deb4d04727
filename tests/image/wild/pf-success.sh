#!/bin/sh
# Mounted over /scripts/pf_success.sh, so that the rules are its own, too.
set -eu
port=$(cat "${PORT_FILE:-/pia-shared/port.dat}")
[ "$port" = "$1" ] || { echo "told of $1, but the file says $port" && exit 1; }
iptables -I INPUT -i wg0 -p tcp --dport "$port" -j ACCEPT
curl -sS --retry 40 --retry-all-errors --retry-delay 1 -d "json={\"listen_port\":$port}" \
	"http://localhost:$CLIENT_API/" >/dev/null
echo "told $CLIENT_USER's client of $port"
