"""``python -m tests.docker.rehearsal``: as root, on a Debian with mmdebstrap, iproute2 and iptables.

Needs package indexes, 20 GB of disk and, on two cores, eleven minutes; a GPU is not asked for.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import shutil
import subprocess
from pathlib import Path

import torch
from torch import nn

import ranksearch
from tests.docker.dockerfile import ROOT
from tests.docker.rehearsal.boots import ENGINE, NOTHING, SYSTEMD
from tests.docker.rehearsal.guide import GUIDE, NAME, Guide
from tests.docker.rehearsal.images import stand_in
from tests.docker.rehearsal.machine import Machine, base_system
from tests.docker.rehearsal.network import Network

MISSING = [name for name in ("mmdebstrap", "ip", "iptables", "nsenter", "unshare") if shutil.which(name) is None]


def main() -> None:
    """Follow the guide; fail where something is not as it says."""
    parser = argparse.ArgumentParser(prog="python -m tests.docker.rehearsal", description=__doc__)
    parser.add_argument("--place", type=Path, default=ROOT / "build" / "rehearsal", help="for systems and images")
    parser.add_argument("--keep-images", action="store_true", help="build on what an earlier rehearsal has built")
    parser.add_argument("--parts", nargs="+", default=["containers", "units"], choices=["containers", "units"])
    chosen = parser.parse_args()
    if MISSING:
        raise SystemExit(f"not installed: {', '.join(MISSING)}; apt-get install mmdebstrap iproute2 iptables")
    place: Path = chosen.place.resolve()
    place.mkdir(parents=True, exist_ok=True)
    lock = (place / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with this process; two would take each other's machines
    if not chosen.keep_images:
        for images in place.glob("images-*"):
            shutil.rmtree(images)
    with Network() as network:
        if "containers" in chosen.parts:
            in_containers(network, place)
        if "units" in chosen.parts:
            as_units(network, place)
    print("-- all of it went as docker/README.md says", flush=True)


def in_containers(network: Network, place: Path) -> None:
    """Two machines with engines, and a laptop."""
    server = base_system("trixie", ENGINE.packages, place / "server.tar")
    plain = base_system("trixie", NOTHING.packages, place / "trixie.tar")
    python = base_system("bookworm", ("ca-certificates", "python3-pip", "python3-venv"), place / "bookworm.tar")
    with (
        Machine(network, "machine-a", 2, server, place, ENGINE) as a,
        Machine(network, "machine-b", 3, server, place, ENGINE) as b,
        Machine(network, "laptop", 4, plain, place, NOTHING) as laptop,
    ):
        for machine in (a, b):
            machine.run("docker ps --all --quiet | xargs --no-run-if-empty docker rm --force > /dev/null", quiet=True)
            machine.run("docker volume prune --all --force > /dev/null", quiet=True)
        stand_in(a, {"bookworm": python, "trixie": plain}, "python", "postgres", "caddy", "versitygw")
        stand_in(b, {"bookworm": python}, "python")
        for machine in (a, b, laptop):
            bring_repository(machine)
        try:
            follow(a, b, laptop)
        except BaseException:
            a.run("docker ps --all; cd ~/repository/docker; docker compose logs --tail 40")
            b.run("docker ps --all; docker logs --tail 40 ranksearch-worker || true")
            raise


def as_units(network: Network, place: Path) -> None:
    """One machine with systemd: the service and a worker."""
    system = base_system("bookworm", SYSTEMD.packages, place / "systemd.tar")
    service, worker, _ = Guide(GUIDE, host="").blocks("Without containers")
    with Machine(network, "machine-s", 5, system, place, SYSTEMD) as machine:
        bring_repository(machine)
        machine.run(service)
        machine.run("export PATH=/opt/ranksearch/bin:$PATH RANKSEARCH_URL=http://127.0.0.1:8000")
        machine.run("export RANKSEARCH_TOKEN=$(cat /var/lib/ranksearch/token)", quiet=True)
        machine.run("ranksearch tokens create workers --scopes work --days 0 > worker_token")
        machine.run(worker.replace(f"https://{NAME}", "http://127.0.0.1:8000"))
        said = machine.run("sleep 10; journalctl --no-pager --unit ranksearch-worker")
        assert confined_wholly(said), said
        pack(machine)
        assert "completed" in machine.run(
            "ranksearch submit model.safetensors images.safetensors --n-trials 10 --watch"
        )
        machine.run("ranksearch pull latest -o small.safetensors")
        machine.run("systemctl stop ranksearch-worker ranksearch-service")
        assert machine.run("systemctl --failed --quiet --no-legend") == ""


def confined_wholly(log: str) -> bool:
    """Whether a worker's log says that all measures of the sandbox are in force."""
    measures = re.search(r"sandbox: (\d+) of (\d+) measures in force", log)
    return measures is not None and measures[1] == measures[2]


def bring_repository(machine: Machine) -> None:
    """What is committed here, at ``~/repository``."""
    bundle = subprocess.run(["git", "archive", "--format=tar", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    machine.write("root/repository.tar", bundle.stdout)
    machine.run("mkdir repository; tar -xf repository.tar -C repository; cd repository", quiet=True)


def follow(a: Machine, b: Machine, laptop: Machine) -> None:
    """The guide, from nothing to a network that comes back smaller."""
    guide = Guide(GUIDE, host=f"{NAME}:{a.address}")
    for machine in (a, laptop):
        machine.run(f"echo '{a.address} {NAME}' >> /etc/hosts", quiet=True)  # in place of a name server's entry

    (start,) = guide.blocks("Machine A: the service")
    assert '"status":"ready"' in a.run(start)
    name, own_authority = guide.blocks("Machine A: a name and HTTPS")
    a.run(name + own_authority)
    a.run("export SSL_CERT_FILE=$PWD/root.crt")
    client, tokens = guide.blocks("Users and tokens")
    a.run(client)
    said = a.run(tokens)
    (annas,) = re.findall(r"^(rs_\w+)$", said, flags=re.MULTILINE)
    assert "no worker is connected" in said
    assert f"ranksearch worker --url https://{NAME}" in said

    b.write("root/repository/worker_token", a.read("root/repository/docker/secrets/worker_token"))
    b.write("root/repository/root.crt", a.read("root/repository/docker/root.crt"))
    (worker,) = guide.blocks("Machine B: a worker with a GPU")
    b.run("sudo install -D -m 0444 root.crt /etc/ranksearch/root.crt")
    b.run(worker.replace("docker logs", "sleep 10; docker logs"))
    log = b.run("docker logs ranksearch-worker 2>&1", quiet=True)
    assert confined_wholly(log), log
    assert f"serves https://{NAME}" in log
    assert "no answer" not in log

    pack(laptop)
    laptop.write("root/repository/root.crt", a.read("root/repository/docker/root.crt"))
    (submit,) = guide.blocks("The laptop: submit")
    said = laptop.run("export SSL_CERT_FILE=$PWD/root.crt\n" + submit.replace("TOKEN=…", f"TOKEN={annas}"))
    assert "machine-b" in said
    assert "completed" in said
    assert len(laptop.read("root/repository/small.safetensors")) > 0

    browse(laptop, annas)
    whatever_is_taken_away(a, b, laptop)
    backup = guide.blocks("Back-ups")[0].splitlines()[0]
    a.run(f"{backup}\ntest -s ranksearch.dump")


def browse(laptop: Machine, token: str) -> None:
    """What a browser would: behind the proxy the session's cookie is for HTTPS alone, and opens the dashboard."""
    given = json.dumps({"token": token})
    laptop.run(f"curl --silent --fail --dump-header head --json '{given}' $RANKSEARCH_URL/v1/session", quiet=True)
    (cookie,) = re.findall(r"(?im)^set-cookie: (.*)$", laptop.run("cat head", quiet=True))
    assert {"httponly", "secure", "samesite=lax"} <= {part.strip().lower() for part in cookie.split(";")}, cookie
    pair = cookie.partition(";")[0]
    page = laptop.run(f"curl --silent --fail --location --cookie '{pair}' $RANKSEARCH_URL/", quiet=True)
    assert re.search(r"sty_\w{16}", page), page


def pack(machine: Machine) -> None:
    """A network and images to submit, as made where torch is."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()
    images = torch.randint(0, 256, (600, 16, 16, 3), dtype=torch.uint8)
    folder = machine.root / "root/repository"
    ranksearch.pack(network, (torch.zeros(2, 3, 16, 16),), folder / "model.safetensors")
    ranksearch.pack_data(
        images, torch.arange(600) % 10, folder / "images.safetensors", mean=(0.5,) * 3, std=(0.25,) * 3
    )


def whatever_is_taken_away(a: Machine, b: Machine, laptop: Machine) -> None:
    """A replica, and the worker, each in the middle of a study, which ends with exactly its trials all the same."""
    options = "--macs 30% --n-trials 30 --name taken"
    study = json.loads(
        laptop.run(f"ranksearch submit model.safetensors images.safetensors {options} --json 2> /dev/null")
    )["id"]
    a.run("docker stop ranksearch-service-1")
    b.run("docker stop ranksearch-worker")
    b.run("docker start ranksearch-worker")
    a.run("docker start ranksearch-service-1; docker stop ranksearch-service-2")
    laptop.run(f"ranksearch watch {study}")
    progress = json.loads(laptop.run(f"ranksearch status {study} --json", quiet=True))["progress"]
    assert progress["complete"] + progress["pruned"] == progress["n_trials"] == 30, progress
    assert progress["failed"] == progress["running"] == progress["waiting"] == 0, progress


if __name__ == "__main__":
    main()
