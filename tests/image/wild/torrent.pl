#!/usr/bin/perl
# Stands in for a torrent client: listens on the port that `listen_port` in a request to its interface names, and says
# there which one that is.
#
# usage: torrent.pl PORT
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

sub listener {
	my ($port) = @_;
	return IO::Socket::INET->new(LocalPort => $port, Listen => 5, ReuseAddr => 1) || die "port $port: $@\n";
}

my $interface = listener($ARGV[0]);
my $select = IO::Select->new($interface);
my $peers;
for (;;) {
	for my $ready ($select->can_read) {
		my $visitor = $ready->accept or next;
		if ($ready == $interface) {
			my ($length, $body) = (0, '');
			while (<$visitor>) {
				$length = $1 if /^content-length: *(\d+)/i;
				last if /^\r?$/;
			}
			read $visitor, $body, $length if $length;
			if ($body =~ /listen_port\D+(\d+)/) {
				if ($peers) { $select->remove($peers); close $peers }
				$peers = listener($1);
				$select->add($peers);
				print STDERR "listening on $1\n";
			}
			print $visitor "HTTP/1.0 200 OK\r\n\r\nOk.\n";
		} else {
			while (<$visitor>) { last if /^\r?$/ }
			print $visitor "HTTP/1.0 200 OK\r\n\r\npeer on ", $peers->sockport, "\n";
		}
		close $visitor;
	}
}
