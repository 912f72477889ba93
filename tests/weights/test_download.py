"""Files of published weights: from a stand-in for the hub on the loopback, and without any network."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants

from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.weights import download
from ssl_seg.weights.download import HubRepo, url_file

COMMIT = "5" * 40
LOOPBACK = pytest.mark.allow_hosts(["127.0.0.1"])


class Hub(BaseHTTPRequestHandler):
    """`/USER/NAME/resolve/main/FILE` as Hugging Face's hub answers, for the files in `server.files`."""

    def do_HEAD(self):
        self.server.asked.append(self.path)
        self.server.silent.wait()
        code, error, content = self.server.answer(self.path)
        self.send_response(code)
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


@contextmanager
def serving(files, error="EntryNotFound"):
    def answer(path):
        return (200, "", files[path]) if path in files else (404, error, b"")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.answer, server.silent = [], answer, threading.Event()
    server.silent.set()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.silent.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def site(hub, monkeypatch, tmp_path):
    """The hub is at an address of the loopback: `site(url)`; its cache and that of torch.hub are empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 1)

    def use(url):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        huggingface_hub.close_session()  # its client has seen the other proxies

    yield use
    huggingface_hub.close_session()


@LOOPBACK
def test_a_file_is_downloaded_once(site):
    with serving({"/me/net/resolve/main/model.safetensors": b"weights"}) as server:
        site(server.url)
        file = HubRepo("me/net").file("model.safetensors", "pytorch_model.bin")
        assert file.read_bytes() == b"weights"
        assert (file.parent.name, file.parent.parent.name) == (COMMIT, "snapshots")
        asked = len(server.asked)
        assert HubRepo("me/net").file("model.safetensors", "pytorch_model.bin") == file
        assert len(server.asked) == asked, "a file in the cache is not asked for again"


@LOOPBACK
def test_the_next_name_is_tried(site):
    with serving({"/me/net/resolve/v1/pytorch_model.bin": b"pickle"}) as server:
        site(server.url)
        file = HubRepo("me/net", "v1").file("model.safetensors", "pytorch_model.bin")
        assert file.name == "pytorch_model.bin"
        with pytest.raises(WeightsError, match=r"me/net has no a\.bin or b\.bin"):
            HubRepo("me/net", "v1").file("a.bin", "b.bin")


@LOOPBACK
@pytest.mark.parametrize(
    ("error", "what", "way"),
    [
        ("RepoNotFound", "no such repository, or a private one", "hf auth login"),
        ("RevisionNotFound", "no revision 'v2'", "/me/net"),
        ("GatedRepo", "terms are not accepted", "hf auth login"),
    ],
)
def test_what_the_hub_refuses_is_explained(site, error, what, way):
    with serving({}, error) as server:
        site(server.url)
        with pytest.raises(WeightsError, match=what) as refused:
            HubRepo("me/net", "v2").file("model.safetensors")
        assert way in refused.value.next
        assert refused.value.where == f"{server.url}/me/net/resolve/v2/model.safetensors"


@LOOPBACK
def test_a_hub_that_does_not_answer_is_given_up(site):
    with serving({}) as server:
        site(server.url)
        server.silent.clear()
        with pytest.raises(WeightsError, match=r"127\.0\.0\.1 did not answer within 1 s"):
            HubRepo("me/net").file("model.safetensors")
        assert len(server.asked) == 1, "it is not asked again and again"
        with pytest.raises(WeightsError, match=r"127\.0\.0\.1 did not answer within 1 s"):
            url_file(f"{server.url}/net-0123abcd.pth")


@LOOPBACK
def test_without_a_network_the_file_and_its_place_are_named(site, tmp_path):
    with serving({}) as server:
        url = server.url  # nobody listens there once it is closed
    site(url)
    with pytest.raises(WeightsError, match="no connection to 127") as refused:
        HubRepo("me/net", "v1").file("model.safetensors")
    assert refused.value.where == f"{url}/me/net/resolve/v1/model.safetensors"
    assert refused.value.next.startswith("hf download me/net --revision v1 --local-dir FOLDER")
    assert "--init local-dir:FOLDER" in refused.value.next
    with pytest.raises(WeightsError, match="no connection to 127") as refused:
        url_file(f"{url}/net-0123abcd.pth")
    assert refused.value.where == f"{url}/net-0123abcd.pth"
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "net-0123abcd.pth") in refused.value.next


def test_what_the_user_forbids_is_not_tried(site, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    site("http://127.0.0.1:1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        HubRepo("me/net").file("model.safetensors")


def test_a_name_that_no_repository_has(site):
    with pytest.raises(UsageError, match="no repository of the hub can be named"):
        HubRepo("me/net/../x").file("model.safetensors")


@LOOPBACK
def test_a_file_at_an_address_is_held_against_the_digest_in_its_name(site):
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    with serving({f"/net-{digest}.pth": b"weights", "/net-0123abcd.pth": b"weights"}) as server:
        file = url_file(f"{server.url}/net-{digest}.pth")
        assert file.read_bytes() == b"weights"
        assert url_file(f"{server.url}/net-{digest}.pth") == file
        assert len(server.asked) == 1
        with pytest.raises(WeightsError, match="invalid hash value"):
            url_file(f"{server.url}/net-0123abcd.pth")
        assert not (file.parent / "net-0123abcd.pth").exists()
