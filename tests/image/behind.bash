# A client behind the VPN: pings through the tunnel, keeps talking by one connection to a host of the LAN once it can,
# and tries to get out past the tunnel, all the time. Says what comes of the first two.
#
# usage: behind.bash INSIDE ELSEWHERE LAN_HOST

ping -n -O -i 0.2 "$1" 2>&1 | sed -u -n 's/.* bytes from .*/pinged/p' &

(while sleep 0.1; do
	echo leak >"/dev/udp/$2/9"
	curl --silent --max-time 0.2 --interface eth0 "http://$2:9/"
done) 2>/dev/null &

until exec 3<>"/dev/tcp/$3/7000"; do sleep 0.2; done 2>/dev/null
number=0
while echo "$number" >&3 && read -t 30 -r -u 3 back && [[ $back == "$number" ]]; do
	echo talked
	number=$((number + 1))
	sleep 0.1
done
echo 'the connection is broken'
sleep infinity
