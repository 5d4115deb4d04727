#!/bin/bash
# In PORT_SCRIPT, with words of its own before the port.
# shellcheck source=/dev/null
source /.env
[[ $1 == --api ]] || exit 1
curl -sS --retry 40 --retry-all-errors --retry-delay 1 -d "json={\"listen_port\":$3}" "http://$CLIENT:$2/" >/dev/null
echo "helper: set to $3"
