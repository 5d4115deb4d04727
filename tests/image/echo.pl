#!/usr/bin/perl
# Sends each line back, to one visitor after the other.
#
# usage: echo.pl PORT
use strict;
use warnings;
use IO::Socket::INET;

my $listener = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die "port $ARGV[0]: $@\n";
while (my $visitor = $listener->accept) {
	$visitor->autoflush(1);
	while (my $line = <$visitor>) { print $visitor $line }
}
