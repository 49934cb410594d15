"""nginx, the program of Debian, on loopback: a folder with lists of its files, as mirrors serve them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.processes import free_port
from tests.helpers.s3_server import wait_for_port

_CONFIGURATION = """
daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; default_type application/octet-stream;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ root {root}; autoindex on; }} }}
}}
"""


def nginx_program() -> str:
    """The path of the program; the test is skipped where there is none."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which("nginx", path=folders)
    if program is None:
        pytest.skip("needs nginx: apt-get install nginx-light")
    return program


@contextmanager
def serving_nginx(root: Path, work: Path) -> Iterator[str]:
    """The URL of a server of a folder, running; it writes below `work`, a new folder, alone."""
    program, port = nginx_program(), free_port()
    work.mkdir()
    (work / "nginx.conf").write_text(_CONFIGURATION.format(work=work, root=root, port=port))
    command = [program, "-p", str(work), "-c", str(work / "nginx.conf"), "-e", str(work / "error.log")]
    with subprocess.Popen(command) as process:
        try:
            wait_for_port(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
