"""Serves a folder by SFTP, SCP (asyncssh) and FTP (pyftpdlib) on loopback, and prints the two ports.

python3 judge_files.py FOLDER USER PASSWORD
"""

import asyncio
import sys
import threading

import asyncssh
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

FOLDER, USER, PASSWORD = sys.argv[1:]


class Login(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


class Files(asyncssh.SFTPServer):
    def __init__(self, channel: asyncssh.SSHServerChannel) -> None:
        super().__init__(channel, chroot=FOLDER.encode())


def ftp() -> int:
    class Handler(FTPHandler):
        authorizer = DummyAuthorizer()

    Handler.authorizer.add_user(USER, PASSWORD, FOLDER, perm="elr")
    server = FTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.address[1]


async def main() -> None:
    server = await asyncssh.create_server(
        Login,
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=Files,
        allow_scp=True,
    )
    print(server.get_port(), ftp(), flush=True)
    await server.wait_closed()


asyncio.run(main())
