"""A model hub on loopback, as far as huggingface_hub needs one to upload a folder: who, repository, preupload, large
files, commit. It keeps what was committed, and answers as configured."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_right"


class HubServer(ThreadingHTTPServer):
    """Repositories by name, each with its files; large ones wait in `large` until a commit names them.

    Attributes:
        refused: a beginning of paths that are answered with 403.
        breaks: large files are cut off while they arrive.
        ignored: files that the hub says are to be ignored.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.commits = 0
        self.refused: str | None = None
        self.breaks = False
        self.ignored: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def handle_one(self) -> None:
        path, body = urlsplit(self.path).path, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path.startswith("/large/"):  # by an address that is signed, so without a token
            return self.take_large(path.removeprefix("/large/"), body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.server.refused is not None and path.startswith(self.server.refused):
            return self.answer(403, {"error": "You have read access but not write access."})
        if path == "/api/whoami-v2":
            return self.answer(200, {"type": "user", "name": "org"})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        owner, name = path.removeprefix("/api/models/").lstrip("/").split("/")[:2]
        files = self.server.repositories.get(f"{owner}/{name.removesuffix('.git')}")
        if files is None:
            return self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        if "/preupload/" in path:
            return self.preupload(json.loads(body)["files"])
        if path.endswith("/info/lfs/objects/batch"):
            return self.batch(json.loads(body)["objects"])
        if "/commit/" in path:
            return self.commit(f"{owner}/{name}", files, [json.loads(line) for line in body.splitlines()])
        if "/tree/" in path:
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            return self.answer(200, tree)
        return self.answer(404, {"error": path})

    do_GET = do_POST = do_PUT = handle_one

    def create(self, wanted: dict[str, str]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.server.repositories:
            return self.answer(409, {"error": "It exists already", "url": f"{self.server.url}/{name}"})
        self.server.repositories[name] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        self.server.private[name] = wanted["visibility"] == "private"
        return self.answer(200, {"url": f"{self.server.url}/{name}", "id": name})

    def preupload(self, wanted: list[dict[str, str]]) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": file["path"] in self.server.ignored,
            }
            for file in wanted
        ]
        self.answer(200, {"files": files})

    def batch(self, wanted: list[dict[str, str]]) -> None:
        found = [
            {**one, "authenticated": True, "actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}}
            for one in wanted
        ]
        self.answer(200, {"transfer": "basic", "objects": found}, {"Content-Type": "application/vnd.git-lfs+json"})

    def take_large(self, oid: str, body: bytes) -> None:
        if self.server.breaks:
            return self.answer(400, {"error": "RequestTimeout: the body was not read within the time"})
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.large[oid] = body
        return self.answer(200, {})

    def commit(self, name: str, files: dict[str, bytes], lines: list[dict[str, dict[str, str]]]) -> None:
        values = [(str(line["key"]), line["value"]) for line in lines]
        files |= {one["path"]: base64.b64decode(one["content"]) for key, one in values if key == "file"}
        files |= {one["path"]: self.server.large[one["oid"]] for key, one in values if key == "lfsFile"}
        self.server.commits += 1
        oid = "0" * 40
        self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid})

    def answer(self, status: int, tree: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(tree).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
