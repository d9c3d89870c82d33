# Tries one address as reach.bash does: HOST PORT GREETING SECONDS.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
greeting, seconds = sys.argv[3], float(sys.argv[4])
found = socket.getaddrinfo(host, port)[0]
udp = socket.socket(found[0], socket.SOCK_DGRAM)
udp.connect_ex(found[4])
print("own", udp.getsockname()[0], "here", flush=True)
tcp = socket.create_connection((host, port), seconds)
print("up", flush=True)
tcp.sendall(f"{greeting}\n".encode())
sys.exit(0 if tcp.recv(1) else 1)
