"""Serves fwupd's mock BMC over TLS on a free port, which it prints.

python3 serve.py FOLDER-OF-redfish.py CERTIFICATE KEY [USER]

With USER the service root is answered to everybody as it is to that user: DSP0266 wants it open, and the
mock wants credentials for it.
"""

import base64
import sys

folder, certificate, key, *user = sys.argv[1:]
sys.path.insert(0, folder)

from redfish import app  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402


def opened(environ, start_response):
    if user and environ["PATH_INFO"].rstrip("/") == "/redfish/v1":
        login = base64.b64encode(f"{user[0]}:password2".encode()).decode()
        environ["HTTP_AUTHORIZATION"] = f"Basic {login}"
    return app(environ, start_response)


server = make_server("127.0.0.1", 0, opened, ssl_context=(certificate, key))
print(server.port, flush=True)
# Nobody reads what the mock prints.
sys.stdout = sys.stderr
server.serve_forever()
