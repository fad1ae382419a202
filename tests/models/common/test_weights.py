"""Finding a model's files: folders that are wrong in every way, the cache, a hub that is really asked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree

import pytest
import torch
from hf_tiny import save_checkpoint
from safetensors.torch import load_file, save_file

from groundstream.models.common.weights import find_checkpoint
from groundstream.models.errors import ModelError
from groundstream.models.registry import load_grounder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("owlvit", tmp_path_factory.mktemp("good") / "tiny-owl")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return copytree(good, tmp_path / "tiny-owl")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def drop_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["class_head.dense0.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def reshape_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["class_head.dense0.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "cannot read .*config.json"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "holds no JSON object"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "has no weights; expected model.safetensors",
    ),
    "weights cut short": (lambda f: cut(f / "model.safetensors"), "incomplete or damaged"),
    "weights empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "incomplete or damaged"),
    "weights are text": (
        lambda f: (f / "model.safetensors").write_text("<html>not found</html>" * 9),
        "incomplete or damaged",
    ),
    "tensor missing": (
        drop_tensor,
        "1 tensors are missing or have another shape, among them class_head.dense0",
    ),
    "tensor of another shape": (reshape_tensor, "1 tensors are missing or have another shape"),
    "shard missing": (shard, "is incomplete: model-2.safetensors is missing"),
    "another architecture": (
        lambda f: change_config(f, model_type="detr"),
        "architecture 'detr', which is none",
    ),
    "no architecture": (lambda f: change_config(f, model_type=None), "architecture 'None'"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "how it wants its pictures"),
    "processor without mean": (
        lambda f: (f / "preprocessor_config.json").write_text("{}"),
        "names no image_mean and image_std",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    "tokenizer damaged": (lambda f: cut(f / "tokenizer.json"), "no readable tokenizer"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folders_say_what_is_wrong(folder: Path, case: str) -> None:
    damage, message = BROKEN[case]
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_grounder(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_good_folder_loads_without_a_word(good: Path, capfd: pytest.CaptureFixture[str]) -> None:
    grounder = load_grounder(str(good), device="cpu", dtype="float32")
    assert capfd.readouterr() == ("", "")
    assert (grounder.info.name, grounder.info.family, grounder.info.text_scope) == (
        "tiny-owl",
        "owlvit",
        "phrase",
    )


def test_torch_files_are_read_without_pickle(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert load_grounder(str(folder), device="cpu").info.family == "owlvit"
    torch.save(weights | {"class_head.dense0.bias": Path("anything")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read"):
        load_grounder(str(folder), device="cpu")


def test_surplus_tensors_are_named_in_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(folder / "model.safetensors")
    weights |= {"extra.weight": torch.zeros(2), "owlvit.text_model.embeddings.position_ids": torch.zeros(1)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    load_grounder(str(folder), device="cpu")
    assert [record.message for record in caplog.records] == [
        "tiny-owl: 1 tensors of the file are not used, among them extra.weight"
    ]


def test_revision_follows_every_tensor(folder: Path) -> None:
    before = find_checkpoint(str(folder))
    assert before.revision == find_checkpoint(str(folder)).revision
    weights = load_file(folder / "model.safetensors")
    seen = {before.revision}
    for name in ("class_head.dense0.bias", "owlvit.text_model.final_layer_norm.weight"):
        weights[name] = weights[name] + 1e-3
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        seen.add(find_checkpoint(str(folder)).revision)
    assert len(seen) == 3


def test_fingerprint_follows_the_tokenizer_and_the_template(folder: Path) -> None:
    before = find_checkpoint(str(folder))
    one, two = before.fingerprint("owlvit", "1"), before.fingerprint("owlvit", "2")
    (folder / "tokenizer.json").write_text("{}")
    after = find_checkpoint(str(folder))
    assert after.revision == before.revision
    assert len({one, two, after.fingerprint("owlvit", "1")}) == 3


def ask_for(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Load a model in a process of its own, whose hub and cache are the given ones."""
    code = (
        "import sys; from groundstream.models.registry import load_grounder\n"
        "try: print(load_grounder(sys.argv[1], device='cpu').info)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    variables = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    command = [sys.executable, "-c", code, name]
    return subprocess.run(
        command, env=variables | environment, capture_output=True, text=True, timeout=120, check=True
    )


@pytest.mark.slow
def test_hub_that_is_not_there(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    done = ask_for("google/owlvit-base-patch32", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE=cache)
    assert done.stdout == (
        "ModelError model 'google/owlvit-base-patch32' cannot be had: it is no folder here, it is not "
        f"complete in the cache {cache}, and the hub cannot be reached; on a machine with network run "
        "`hf download google/owlvit-base-patch32`, or give a folder with its files: --model FOLDER\n"
    )
    assert done.stderr == ""


@pytest.fixture
def hub(good: Path) -> Iterator[str]:
    """A hub that has one model, `someone/tiny`, and counts nothing but serves its real files."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            if path.startswith("/api/models/someone/tiny"):
                files = [{"rfilename": file.name} for file in good.iterdir()]
                content = json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": files}).encode()
                if "/tree/" in path:
                    listed = [
                        {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0"}
                        for f in good.iterdir()
                    ]
                    content = json.dumps(listed).encode()
            elif path.startswith("/someone/tiny/resolve/") and (good / path.split("/")[-1]).is_file():
                content = (good / path.split("/")[-1]).read_bytes()
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_hub_model_is_fetched_once_then_found_offline(hub: str, tmp_path: Path) -> None:
    places = {"HF_ENDPOINT": hub, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    fetched = ask_for("someone/tiny", **places)
    assert fetched.stdout.startswith("ModelInfo(name='someone/tiny', family='owlvit'")
    assert fetched.stderr == ""
    assert ask_for("someone/tiny", **places | {"HF_HUB_OFFLINE": "1"}).stdout == fetched.stdout
    assert "the hub has no such model" in ask_for("someone/else", **places).stdout
