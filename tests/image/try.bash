# Tries to get out: many datagrams and a few connections to a host on the internet, by IPv4 and IPv6.
#
# usage: try.bash ADDRESS ADDRESS_V6

for _ in {1..20}; do
	for address in "$@"; do echo out >"/dev/udp/$address/9"; done
done
curl --silent --max-time 1 "http://$1:9/"
curl --silent --max-time 1 "http://[$2]:9/"
exit 0
