"""A web server as a site has one for its packages: https, certificate of a private CA.

    payload-server.py ADDRESS PORT DIRECTORY CERTIFICATE KEY

Prints one line once it listens; the log of requests goes to standard error.
"""

import functools
import http.server
import ssl
import sys

address, port, directory, certificate, key = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
server = http.server.ThreadingHTTPServer((address, int(port)), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
# The handshake takes place in the thread of its connection, so that nobody holds up the others.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(f"serving {directory} at https://{address}:{port}", flush=True)
server.serve_forever()
