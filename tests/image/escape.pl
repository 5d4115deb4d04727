#!/usr/bin/perl
# Tries every way out of the network that is not the tunnel. Each has a destination port of its own at the host
# "elsewhere", by which it is known on the wire.
#
# usage: escape.pl INTERFACE NAME_SERVER
#
# Perl, because every Debian has it, and it has all kinds of sockets.
use strict;
use warnings;
use Socket qw(:DEFAULT :addrinfo inet_pton pack_sockaddr_in6 AF_INET6 IPPROTO_IPV6);

# Of Linux, all architectures.
use constant { SO_MARK => 36, SO_BINDTODEVICE => 25, AF_PACKET => 17, IPPROTO_RAW => 255, ETH_P_IP => 0x0800 };
use constant MARK => 51820;

my ($interface, $name_server) = @ARGV;
my $elsewhere = inet_aton('203.0.113.66');
my $elsewhere_v6 = inet_pton(AF_INET6, '2001:db8:66::66');
my $own = own_address();

sub own_address {
	my ($line) = grep { /inet / } `ip -4 addr show dev $interface`;
	$line =~ m{inet ([0-9.]+)} or die "no address on $interface";
	return inet_aton($1);
}

# What is refused here is as good as what is dropped later; the wire decides.
sub try {
	my ($name, $attempt) = @_;
	my $done = eval { $attempt->() };
	print "$name: ", ($done ? 'sent' : $@ || "refused: $!"), "\n";
}

sub opened {
	my ($family, $type, $protocol) = @_;
	socket(my $socket, $family, $type, $protocol) or return;
	return $socket;
}

sub marked { setsockopt($_[0], SOL_SOCKET, SO_MARK, pack('I', MARK)) }
sub bound { setsockopt($_[0], SOL_SOCKET, SO_BINDTODEVICE, "$interface\0") }

sub udp {
	my ($prepare, $to, $text) = @_;
	my $socket = opened(PF_INET, SOCK_DGRAM, 0) or return;
	$prepare->($socket) or return;
	return send($socket, $text // 'out', 0, $to);
}

# A first packet is enough, so it does not wait for an answer.
sub tcp {
	my ($prepare, $to) = @_;
	my $socket = opened(PF_INET, SOCK_STREAM, 0) or return;
	$prepare->($socket) or return;
	local $SIG{ALRM} = sub { die "nothing came back\n" };
	alarm 1;
	my $done = connect($socket, $to);
	alarm 0;
	return $done;
}

sub sum {
	my $sum = 0;
	$sum += $_ for unpack 'n*', $_[0];
	$sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
	return ~$sum & 0xffff;
}

# An IPv4 packet with a datagram in it.
sub packet {
	my ($port) = @_;
	my $datagram = pack 'nnnna3', 40000, $port, 11, 0, 'out';
	my $head = pack 'CCnnnCCna4a4', 0x45, 0, 20 + length $datagram, 1, 0, 64, 17, 0, $own, $elsewhere;
	substr $head, 10, 2, pack 'n', sum($head);
	return $head . $datagram;
}

sub raw {
	my ($prepare, $port) = @_;
	my $socket = opened(PF_INET, SOCK_RAW, IPPROTO_RAW) or return;
	$prepare->($socket) or return;
	return send($socket, packet($port), 0, pack_sockaddr_in(0, $elsewhere));
}

sub v6 {
	my ($prepare, $port) = @_;
	my $socket = opened(AF_INET6, SOCK_DGRAM, 0) or return;
	$prepare->($socket) or return;
	return send($socket, 'out', 0, pack_sockaddr_in6($port, $elsewhere_v6));
}

# A whole frame to the gateway's hardware address, past all of IP.
sub frame {
	my ($port) = @_;
	my ($gateway) = `ip -4 neigh show dev $interface` =~ m{lladdr ([0-9a-f:]+)};
	my $to = pack 'H2' x 6, split /:/, $gateway // 'ff:ff:ff:ff:ff:ff';
	open my $file, '<', "/sys/class/net/$interface/ifindex" or return;
	my $index = <$file> + 0;
	# Protocol 0: it sends, and receives nothing.
	my $socket = opened(AF_PACKET, SOCK_DGRAM, 0) or return;
	return send($socket, packet($port), 0, pack('SnlSCCa8', AF_PACKET, ETH_P_IP, $index, 0, 0, 6, $to));
}

# A question for the address of "leak.test".
sub question { return pack('n6', 0x5052, 0x100, 1, 0, 0, 0) . "\x04leak\x04test\0" . pack('n2', 1, 1) }

my $plain = sub { 1 };
my $marked = \&marked;
my $bound = \&bound;
my $both = sub { marked($_[0]) && bound($_[0]) };
my $at = sub { pack_sockaddr_in($_[0], $elsewhere) };
my $dns = pack_sockaddr_in(53, inet_aton($name_server));

try('udp', sub { udp($plain, $at->(40001)) });
try('tcp', sub { tcp($plain, $at->(40002)) });
try('udp marked', sub { udp($marked, $at->(40003)) });
try('tcp marked', sub { tcp($marked, $at->(40004)) });
try('udp bound', sub { udp($bound, $at->(40005)) });
try('tcp bound', sub { tcp($bound, $at->(40006)) });
try('udp marked and bound', sub { udp($both, $at->(40007)) });
try('raw', sub { raw($plain, 40008) });
try('raw marked', sub { raw($marked, 40009) });
try('raw bound', sub { raw($bound, 40010) });
try('raw marked and bound', sub { raw($both, 40011) });
try('udp v6', sub { v6($plain, 40012) });
try('udp v6 marked', sub { v6($marked, 40013) });
try('udp v6 bound', sub { v6($bound, 40014) });
try('dns', sub { udp($plain, $dns, question()) });
try('dns marked', sub { udp($marked, $dns, question()) });
try('dns bound', sub { udp($bound, $dns, question()) });
try('api marked', sub { tcp($marked, pack_sockaddr_in(443, inet_aton('203.0.113.10'))) });
try('frame', sub { frame(40020) });
