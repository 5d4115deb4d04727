#!/usr/bin/perl
# Sends one frame by a socket of the family AF_XDP, which hands it to the driver of the network card.
# The kernel writes into the memory that it shares, for perl has no pointers.
#
# usage: af_xdp.pl INTERFACE_NUMBER FRAME_IN_HEX
use strict;
use warnings;
use POSIX ();

my ($index, $frame) = @ARGV;
$frame = pack 'H*', $frame;

my ($AF_XDP, $SOCK_RAW, $SOL_XDP) = (44, 3, 283);
my ($OFFSETS, $TX_RING, $UMEM_REG, $FILL_RING, $COMPLETION_RING) = (1, 3, 4, 5, 6);
my ($COPY, $TX_RING_PAGE) = (2, 0x80000000);
my ($READ_AND_WRITE, $SHARED, $PRIVATE_ANONYMOUS) = (3, 1, 0x22);
my ($CHUNK, $COUNT, $DESCRIPTOR) = (4096, 16, 16);
my $DONT_WAIT = 0x40;
my ($READ, $MMAP) = (POSIX::uname())[4] eq 'aarch64' ? (63, 222) : (0, 9);

sub map_memory {
	my $address = syscall $MMAP, 0, $_[0], $READ_AND_WRITE, $_[1], $_[2], $_[3];
	die "mmap: $!\n" if $address == -1;
	return $address;
}

sub poke {
	my ($address, $bytes) = @_;
	pipe my $reader, my $writer or die "pipe: $!\n";
	syswrite $writer, $bytes;
	syscall($READ, fileno $reader, $address, length $bytes) == length $bytes or die "poke: $!\n";
}

socket my $socket, $AF_XDP, $SOCK_RAW, 0 or die "socket: $!\n";
my $memory = map_memory($CHUNK * $COUNT, $PRIVATE_ANONYMOUS, -1, 0);
my %options = (
	$FILL_RING => pack('I', $COUNT),
	$COMPLETION_RING => pack('I', $COUNT),
	$TX_RING => pack('I', $COUNT),
);
setsockopt $socket, $SOL_XDP, $UMEM_REG, pack('QQIIIx4', $memory, $CHUNK * $COUNT, $CHUNK, 0, 0)
	or die "memory: $!\n";
for my $option (sort keys %options) {
	setsockopt $socket, $SOL_XDP, $option, $options{$option} or die "ring $option: $!\n";
}
my $offsets = getsockopt $socket, $SOL_XDP, $OFFSETS or die "offsets: $!\n";
# After those of the ring for what is received.
my ($producer, undef, $descriptors) = (unpack 'Q*', $offsets)[4 .. 6];
my $ring = map_memory($descriptors + $COUNT * $DESCRIPTOR, $SHARED, fileno $socket, $TX_RING_PAGE);
bind $socket, pack('SSIII', $AF_XDP, $COPY, $index, 0, 0) or die "bind: $!\n";

poke($memory, $frame);
poke($ring + $descriptors, pack 'QII', 0, length $frame, 0);
poke($ring + $producer, pack 'I', 1);
defined send $socket, '', $DONT_WAIT or die "send: $!\n";
