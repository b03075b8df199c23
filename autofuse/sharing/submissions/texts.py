"""The files of a build context that are text: Dockerfile, entry point, README."""

from __future__ import annotations

import json

from autofuse.sharing.submissions.interface import ContainerInterface, slug

APP = "/opt/app"
MODELS_WORKSPACE = "workspace"
"""Folder in the container's ``/opt/app`` with the model, unpacked when the image is built."""
ENVIRONMENT = {
    "HOME": "/tmp",
    "MPLCONFIGDIR": "/tmp",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Of the program in the container: everything that libraries like to write goes to /tmp."""

ENTRY_POINT_TEXT = '''"""Segments the case in /input, writes its mask to /output; interface.json says what is where."""

import sys
from pathlib import Path

from autofuse.cli.container import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, sys.argv[1:]))
'''

IGNORED_TEXT = "README.md\n**/__pycache__\n"


def dockerfile(base_image: str, bundle: str) -> str:
    """The Dockerfile: everything is installed when it is built, nothing is written to when it runs."""
    settings = " \\\n    ".join(f"{name}={value}" for name, value in ENVIRONMENT.items())
    command = json.dumps(["python", f"{APP}/entry_point.py"])
    return f"""FROM --platform=linux/amd64 {base_image}

WORKDIR {APP}
COPY requirements.txt {APP}/
RUN python -m pip install --no-cache-dir --requirement requirements.txt
COPY wheels {APP}/wheels
RUN python -m pip install --no-cache-dir --no-deps wheels/*.whl && rm -r wheels

COPY {bundle} /opt/model/
RUN python -m autofuse import /opt/{bundle} --workspace {APP}/{MODELS_WORKSPACE} && rm -r /opt/model
COPY entry_point.py interface.json {APP}/

RUN groupadd --system --gid 10001 user && useradd --system --uid 10001 --gid user --no-create-home user
ENV {settings}
USER user
ENTRYPOINT {command}
"""


def readme(interface: ContainerInterface, *, gpu: bool) -> str:
    """How the container is built, tried, saved and uploaded."""
    tag = slug(interface.model)
    device = " --gpus all" if gpu else ""
    rows = [f"| {item.modality} | `{item.path}` | {_presence(item.optional)} |" for item in interface.inputs]
    out = [f"`{interface.result}`: the mask, .mha, values {', '.join(map(str, interface.values))}"]
    out += [f"`{interface.volumes}`: volume of each structure in ml"] if interface.volumes else []
    return "\n".join(
        [
            f"# {interface.model}: a container for Grand Challenge",
            "",
            "| modality | folder with one image (.mha, .nii.gz, .tif) | |",
            "| --- | --- | --- |",
            *rows,
            "",
            "It writes",
            "",
            *(f"- {line}" for line in out),
            "",
            "Build, with network, where Docker is:",
            "",
            "    docker build --tag " + tag + " .",
            "",
            "Try it as the challenge will run it, on a folder `input` with one case in it:",
            "",
            f"    mkdir -p output && chmod 777 output\n    docker run --rm --network none --read-only{device}"
            f' --tmpfs /tmp \\\n      -v "$PWD/input:/input:ro" -v "$PWD/output:/output" {tag}',
            "",
            "Save it, and upload the file under Containers of your algorithm:",
            "",
            f"    docker save {tag} | gzip --best > {tag}.tar.gz",
            "",
            "Every version in `requirements.txt` is the one that this was rehearsed with. For a GPU, make the context",
            "with `--set gpu=true`, which asks for a torch with CUDA; `--set base_image=…` names another base image.",
            "",
        ]
    )


def _presence(optional: bool) -> str:
    return "a case may lack it" if optional else "always there"
