"""The page as one HTML file: static/*, the description of a model, and its weights."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

import torch
from torch import Tensor

from nanoldm.page.describe import describe
from nanoldm.pipeline.half import is_half
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.files import write_text
from nanoldm.utils.paths import check_target

STATIC = Path(__file__).with_name("static")
# Modules of a script in the order of their imports
WORKER = ("kernels.js", "operations.js", "engine.js", "noise.js", "model.js", "worker.js")
SCRIPT = ("dom.js", "client.js", "generate.js", "draw.js", "between.js", "inside.js", "app.js")
POLICY = ("default-src 'none'; script-src {script} 'wasm-unsafe-eval'; worker-src blob:; "
          "style-src {style}; img-src data: blob:; base-uri 'none'; form-action 'none'")


def write_page(model: LatentDiffusion, out: str | Path,
               facts: Mapping[str, str] | None = None) -> None:
    """Write an HTML file that runs `model` in a browser, without a network or a server.

    out: the file, which ends in .html.
    facts: {name: text} that the page shows about the model.
    The page shows commands for the model by the name that `from_pretrained` loaded. The model moves
    to the CPU. Raises InputError for a model that the page cannot run.
    """
    path, name = check_target(Path(out), ".html"), model.name or "MODEL"
    page, weights = describe(model, name, facts or {})
    title = Path(name).name or name
    write_text(path, document(page, weights, f"{title}: a latent diffusion model to try"))


def document(page: dict, weights: list[Tensor], title: str) -> str:
    """The HTML."""
    style, script = read("style.css"), joined(SCRIPT)
    policy = POLICY.format(script=source_hash(script), style=source_hash(style))
    parts = {"policy": policy, "title": escape(title),
             "style": style, "page": json_text(page), "weights": encoded(pack(weights)),
             "kernels": encoded((STATIC / "kernels.wasm").read_bytes()), "worker": joined(WORKER),
             "script": script}
    return re.sub(r"\[\[(\w+)\]\]", lambda match: parts[match[1]], read("index.html"))


def read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def joined(names: tuple[str, ...]) -> str:
    """ES modules as one classic script, each in a function of its own, which returns its exports.
    """
    parts = ['"use strict";', "const modules = {};"]
    for name in names:
        text = re.sub(r'^import (\{.*?\}) from "\./(.*?)";', r'const \1 = modules["\2"];',
                      read(name), flags=re.MULTILINE | re.DOTALL)
        keyword = r"^export ((?:async )?(?:function\*?|class|const) (\w+))"
        exports = [export for _, export in re.findall(keyword, text, re.MULTILINE)]
        text = re.sub(keyword, r"\1", text, flags=re.MULTILINE)
        result = f"return {{ {', '.join(exports)} }};"
        parts += [f'modules["{name}"] = (() => {{', text, result, "})();"]
    return "\n".join(parts) + "\n"


def source_hash(text: str) -> str:
    """A source of the content security policy: only this text may run."""
    return f"'sha256-{encoded(hashlib.sha256(text.encode()).digest())}'"


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def json_text(content: object) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")


def pack(weights: list[Tensor]) -> bytes:
    """Each weight in float16 if that is exact, else in float32; from a multiple of 4 bytes on."""
    parts = []
    for weight in weights:
        content = weight.to(torch.float16 if is_half(weight) else torch.float32).numpy().tobytes()
        parts.append(content + bytes(-len(content) % 4))
    return b"".join(parts)
