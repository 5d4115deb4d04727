#!/usr/bin/perl
# Answers every request with what it gets from another place.
#
# usage: proxy.pl PORT URL
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $url) = @ARGV;
my $listener = IO::Socket::INET->new(LocalPort => $port, Listen => 5, ReuseAddr => 1) or die "port $port: $@\n";
while (my $visitor = $listener->accept) {
	while (<$visitor>) { last if /^\r?$/ }
	open my $answer, '-|', 'curl', '--silent', '--max-time', 10, $url or die "curl: $!\n";
	print $visitor "HTTP/1.0 200 OK\r\n\r\n", <$answer>;
	close $visitor;
}
