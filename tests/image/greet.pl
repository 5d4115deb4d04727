#!/usr/bin/perl
# A web server that shows each visitor's address, and nothing else.
#
# usage: greet.pl PORT
use strict;
use warnings;
use IO::Socket::INET;

my $listener = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die "port $ARGV[0]: $@\n";
while (my $visitor = $listener->accept) {
	# The whole request, for a close with unread data would be a reset.
	while (<$visitor>) { last if /^\r?$/ }
	print $visitor "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n", $visitor->peerhost, "\n";
	close $visitor;
}
