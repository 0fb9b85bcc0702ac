"""Models on the hub: read and written through a small server in its place."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from nanoldm.experiments.export import export
from nanoldm.pipeline import hub
from nanoldm.pipeline.folders import BUNDLED
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that one model needs. `files`: {path: content}."""

    files: ClassVar[dict[str, bytes]] = {}
    requests = 0
    address = ""

    def do_GET(self):
        type(self).requests += 1
        path = self.path.split("?")[0]
        if not path.startswith(("/api/models/me/digits", "/me/digits/resolve/")):
            return self.answer(404, {"error": "no such model"}, {"X-Error-Code": "RepoNotFound"})
        if path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in self.files]
            return self.answer(200, self.tree() if "/tree/" in path else {
                "id": "me/digits", "sha": COMMIT, "siblings": siblings, "tags": []})
        content = self.files[path.split("/resolve/")[1].split("/", 1)[1]]
        return self.answer(200, content, {"ETag": f'"{hash(content)}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/api/repos/create":
            return self.answer(200, {"url": f"{self.address}/me/digits", "name": "me/digits"})
        if "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for file in json.loads(body)["files"]]
            return self.answer(200, {"files": files})
        if "/commit/" not in self.path:             # the check of the card's head
            return self.answer(200, {"errors": [], "warnings": []})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                value = line["value"]
                self.files[value["path"]] = base64.b64decode(value["content"])
        return self.answer(200, {"commitUrl": f"{self.address}/me/digits/commit/{COMMIT}",
                                 "commitOid": COMMIT, "pullRequestUrl": None})

    def tree(self):
        return [{"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.files.items()]

    def answer(self, code, content, headers=()):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The hub, and an empty cache for what is downloaded from it."""
    Hub.files, Hub.requests = {}, 0
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    Hub.address = address = f"http://127.0.0.1:{serving.server_port}"
    monkeypatch.chdir(tmp_path)
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                        address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield serving
    serving.shutdown()


def test_an_exported_model_is_copied_to_the_hub_and_read_from_there(server, tmp_path):
    export("mnist-fast-conditional", tmp_path / "digits")
    assert hub.upload(tmp_path / "digits", "me/digits") == f"{Hub.address}/me/digits"
    names = {file.relative_to(tmp_path / "digits").as_posix()
             for file in (tmp_path / "digits").rglob("*") if file.is_file()}
    assert Hub.files.keys() == names
    assert Hub.files["README.md"].startswith(b"---\nlibrary_name: diffusers\n")

    ours = LatentDiffusion.from_pretrained("mnist-fast-conditional")
    found = LatentDiffusion.from_pretrained("me/digits")
    assert found.generate(1, labels=3, steps=2).equal(ours.generate(1, labels=3, steps=2))
    server.shutdown()
    asked = Hub.requests
    LatentDiffusion.from_pretrained("me/digits")                # without the network
    assert Hub.requests == asked


def test_what_is_no_model_on_the_hub_is_an_error(server):
    with pytest.raises(InputError, match="there is no model or folder you/none here, and"):
        LatentDiffusion.from_pretrained("you/none")
    Hub.files["README.md"] = b"another library's"
    with pytest.raises(InputError, match=r"me/digits .* is not a model of nanoldm: it lacks"):
        LatentDiffusion.from_pretrained("me/digits")


def test_names_of_the_hub_are_not_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub.is_hub_name("me/my-digits.v2")
    for path in ("runs/a", "mnist", "/me/a", "me/a/b", "./me/a", "../a", BUNDLED / "mnist"):
        assert not hub.is_hub_name(path)
