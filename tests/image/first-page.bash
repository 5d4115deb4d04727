#!/usr/bin/env bash
# What a container behind the VPN sees at its very first moment; then it stays for a look at it.
echo "page: $(curl --silent --show-error --max-time 20 "$1" 2>&1)"
exec sleep infinity
