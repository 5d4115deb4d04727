#!/usr/bin/env bash
# usage: poll.sh FILE URL: tells the client at URL the port that FILE names, each time it is another one.
file=$1 url=$2 old=0
while true; do
	[[ -r $file ]] && port=$(cat "$file")
	if [[ ${port:-0} -ne $old ]]; then
		curl --silent --max-time 5 --data "json={\"listen_port\":\"$port\"}" "$url/" && old=$port
	fi
	sleep 1
done
