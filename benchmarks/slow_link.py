"""Seconds and bytes of a step between computers on a slow link, by method.

python benchmarks/slow_link.py --data-dir DIR [--mbit 10] [--delay 0] [--only "SGD;strong"]

Makes four namespaces with a network of their own (see `links`), and in each a process of a run on
Fashion-MNIST. Bytes are those of the interface, per step and computer. Needs root on Linux; says so
where it can't. Steps themselves don't depend on the link, so with how many a method needs for an
accuracy, which ``benchmarks/slow_links.py`` measures, the seconds to it follow.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import measure
import numpy as np
from links import Link, Network, Unavailable

PROCESSES = 4
_BATCH = 128
_EPOCHS = 4
_DILOCO = ["--outer-rate", "0.7", "--outer-momentum", "0.9"]
METHODS: dict[str, list[str]] = {
    "SGD": ["sgd"],
    "SGD, 16 local steps (DiLoCo)": ["sgd", "--local-steps", "16", *_DILOCO],
    "PowerSGD, rank 1": ["powersgd"],
    "top-k, k = 125": ["topk"],
    "strong": ["rbd", "--preset", "strong"],
    "strong, int8": ["rbd", "--preset", "strong", "--sent-as", "int8"],
    "strong, 16 local steps": ["rbd", "--preset", "strong", "--local-steps", "16"],
}
"""What runs, by the name in the table: the words of ``subspace run``."""


class Measured(NamedTuple):
    """Of a step of training."""

    seconds: float
    sent: float
    received: float


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return _work(sys.argv[2:])
    parser = measure.settings_parser(__doc__)
    parser.add_argument("--mbit", type=float, default=10.0)
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds, one way")
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--steps", type=int, default=32, help="of an epoch")
    options = parser.parse_args()
    link, table = Link(options.mbit, options.delay / 1000), []
    for name in measure.chosen(options.only, METHODS):
        try:
            found = measured(METHODS[name], link, options)
        except Unavailable as error:
            return print(f"skipped: {error}")
        line = {
            "": name,
            "seconds a step": round(found.seconds, 4),
            "bytes sent": round(found.sent),
            "bytes received": round(found.received),
        }
        table.append(line)
        print(line, file=sys.stderr, flush=True)
    measure.show(f"{options.model}, {PROCESSES} processes, {link}", table, options.json)


def measured(method: list[str], link: Link, options: Any) -> Measured:
    """All epochs of a method but the first, in which it is compiled and workers meet."""
    with tempfile.TemporaryDirectory() as folder, Network(PROCESSES, link) as network:
        few = Path(folder, "few.npz")
        _write_few(few, options.dataset, options.data_dir, options.steps * _BATCH)
        run = Path(folder, "run")
        words = [*method, "--dataset", f"npz:{few}", "--task", "images", "--model", options.model]
        words += ["--batch-size", str(_BATCH), "--lr", "0.0625", "--no-augment"]
        words += ["--epochs", str(_EPOCHS), "--checkpoint-every", str(_EPOCHS), "--out", str(run)]
        counted = _train_on(network, ["run", *words], run / "metrics.jsonl")
        records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    steps = records[-1]["step"] - records[0]["step"]
    sent, received = np.mean(counted[_EPOCHS] - counted[1], axis=0) / steps
    return Measured(_BATCH / records[-1]["examples_per_second"], float(sent), float(received))


def _write_few(file: Path, dataset: str, data_dir: str | None, count: int) -> None:
    from subspace.data.dataset import load

    data = load(dataset, data_dir=data_dir)
    rest = count // 9 + 1  # what is held out
    arrays = {
        "x_train": np.asarray(data.train.inputs[: count + rest]),
        "y_train": np.asarray(data.train.targets[: count + rest]),
        "x_test": np.asarray(data.test.inputs[:256]),
        "y_test": np.asarray(data.test.targets[:256]),
    }
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def _train_on(network: Network, words: list[str], records: Path) -> dict[int, np.ndarray]:
    """A run, a process of it on each computer.

    Returns:
        How many bytes each had sent and received when so many records were written.

    Raises:
        RuntimeError: one of them failed; says how.
    """
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    started = []
    for index in range(PROCESSES):
        place = ["--coordinator", f"{network.address(0)}:{port}", "--process-id", str(index)]
        place += ["--num-processes", str(PROCESSES), "--distributed", "--timeout", "300"]
        command = [sys.executable, __file__, "--worker", *words, *place]
        started.append(
            subprocess.Popen(
                [*network.inside(index), *command],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    counted: dict[int, np.ndarray] = {}
    try:
        while any(process.poll() is None for process in started):
            written = records.read_text().count("\n") if records.exists() else 0
            if written not in counted:
                counted[written] = np.asarray([network.bytes_of(i) for i in range(PROCESSES)])
            time.sleep(0.02)
        said = [process.communicate()[0] for process in started]
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
    if any(process.returncode for process in started):
        raise RuntimeError("\n".join(one[-1000:] for one in said))
    return counted


def _work(words: list[str]) -> None:
    """The command line of a process, where rivals are methods too."""
    from compressors.methods import register_rivals

    register_rivals()
    sys.argv = ["subspace", *words]
    runpy.run_module("subspace_cli", run_name="__main__")


if __name__ == "__main__":
    main()
