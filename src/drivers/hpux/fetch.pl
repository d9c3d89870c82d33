# Fetches an image over HTTP, or tries a port. Perl of HP-UX has sockets, and no TLS.
use strict;
use IO::Socket;

my ($verb, @rest) = @ARGV;

sub connection {
    my ($host, $port) = @_;
    $host =~ s/^\[(.*)\]$/$1/;
    my %to = (PeerAddr => $host, PeerPort => $port, Proto => "tcp", Timeout => 30);
    if (eval { require IO::Socket::IP; 1 }) {
        return IO::Socket::IP->new(PeerHost => $host, PeerService => $port, Proto => "tcp", Timeout => 30);
    }
    if ($host =~ /:/) {
        die "notool\n" unless eval { require IO::Socket::INET6; 1 };
        return IO::Socket::INET6->new(%to);
    }
    return IO::Socket::INET->new(%to);
}

if ($verb eq "try") {
    my ($host, $port, $seconds, $greeting, $answer) = @rest;
    my $stood = 0;
    $SIG{ALRM} = sub { print $stood ? "silent\n" : "timeout\n"; exit };
    alarm $seconds;
    my $socket = eval { connection($host, $port) };
    if ($@ =~ /notool/) { print "notool\n"; exit }
    if (!$socket) { print "failed $!\n"; exit }
    $stood = 1;
    print "own ", $socket->sockhost, "\n";
    print $socket "$greeting\r\n\r\n";
    $socket->flush;
    my $heard = "";
    while (sysread($socket, my $bytes, 4096)) {
        $heard .= $bytes;
        last if $answer eq "" or index($heard, $answer) >= 0;
    }
    print $heard eq "" ? "closed\n" : index($heard, $answer) >= 0 ? "answered\n" : "foreign\n";
    exit;
}

my ($request, $file, $idle) = @rest;
open(my $in, "<", $request) or die "the request cannot be read: $!\n";
my $url = <$in>;
chomp $url;
my ($host, $port, $path) = $url =~ m{^http://(\[[^\]]*\]|[^:/]*):(\d+)(/.*)$} or die "the URL is not understood\n";
# Each step has as long as a line may be silent: a server that has gone may never say so.
my $doing = "the connection to $host port $port";
$SIG{ALRM} = sub { die "$doing took longer than $idle s\n" };
alarm $idle;
my $socket = connection($host, $port) or die "no connection to $host port $port: $!\n";
$doing = "the answer of $host port $port";
print $socket "GET $path HTTP/1.0\r\nHost: $host:$port\r\n\r\n";
$socket->flush;
my $head = "";
while ($head !~ /\r\n\r\n/) {
    alarm $idle;
    sysread($socket, my $bytes, 1) or die "no answer from $host port $port\n";
    $head .= $bytes;
}
my ($status) = $head =~ m{^HTTP/\S+ (\d+)};
die "the answer of $host port $port is $status\n" unless $status eq "200";
open(my $out, ">", $file) or die "$file cannot be written: $!\n";
binmode $out;
while (1) {
    alarm $idle;
    my $count = sysread($socket, my $bytes, 65536);
    alarm 0;
    die "$doing was cut off: $!\n" unless defined $count;
    last unless $count;
    print $out $bytes or die "$file cannot be written: $!\n";
}
close($out) or die "$file cannot be written: $!\n";
