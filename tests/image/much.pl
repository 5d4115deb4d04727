#!/usr/bin/perl
# A web server that gives each visitor eight megabytes.
#
# usage: much.pl ADDRESS PORT
use strict;
use warnings;
use IO::Socket::INET;

local $SIG{PIPE} = 'IGNORE';
my $listener = IO::Socket::INET->new(LocalAddr => $ARGV[0], LocalPort => $ARGV[1], Listen => 5, ReuseAddr => 1)
	or die "port $ARGV[1]: $@\n";
while (my $visitor = $listener->accept) {
	# The whole request, for a close with unread data would be a reset.
	while (<$visitor>) { last if /^\r?$/ }
	print $visitor "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n", 'x' x 8_000_000;
	close $visitor;
}
