"""A network of this machine's own: a bridge to which machines are plugged, and a way out to package indexes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Network", "run_here"]

_BRIDGE = "rehearsal0"
_PREFIX = "198.51.100"
"""TEST-NET-2 of RFC 5737: addresses that nobody has."""
_FORWARDS = Path("/proc/sys/net/ipv4/ip_forward")
"""Whether this machine passes on what is not for itself."""
_WAYS = (
    ("-t", "nat", "{}", "POSTROUTING", "-s", f"{_PREFIX}.0/24", "!", "-o", _BRIDGE, "-j", "MASQUERADE"),
    # The way out may carry smaller packets than the bridge, and nobody says so in time.
    (
        "-t",
        "mangle",
        "{}",
        "FORWARD",
        "-p",
        "tcp",
        "--tcp-flags",
        "SYN,RST",
        "SYN",
        "-j",
        "TCPMSS",
        "--clamp-mss-to-pmtu",
    ),
    ("-t", "filter", "{}", "FORWARD", "-i", _BRIDGE, "-j", "ACCEPT"),
    ("-t", "filter", "{}", "FORWARD", "-o", _BRIDGE, "-j", "ACCEPT"),
)


def run_here(*words: str, check: bool = True) -> None:
    """A command of this machine's."""
    subprocess.run(words, check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL)


class Network:
    """Lives as long as the block, and leaves nothing behind."""

    def __enter__(self) -> Self:
        self._away()  # what a killed rehearsal left
        self._forwarded = _FORWARDS.read_text()
        _FORWARDS.write_text("1")
        run_here("ip", "link", "add", _BRIDGE, "type", "bridge")
        run_here("ip", "address", "add", f"{_PREFIX}.1/24", "dev", _BRIDGE)
        run_here("ip", "link", "set", _BRIDGE, "up")
        for way in _WAYS:
            run_here("iptables", *(word.format("--append") for word in way))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._away()
        _FORWARDS.write_text(self._forwarded)

    def plug(self, name: str, number: int) -> str:
        """Make the network namespace ``name`` with one address on the bridge; the address."""
        inside, outside = f"--net=/run/netns/{name}", f"rehearsal{number}"
        address = f"{_PREFIX}.{number}"
        self.unplug(name)
        run_here("ip", "link", "delete", outside, check=False)
        run_here("ip", "netns", "add", name)
        run_here("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        run_here("ip", "link", "set", outside, "master", _BRIDGE, "up")
        for words in (
            f"address add {address}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
            f"route add default via {_PREFIX}.1",
        ):
            run_here("nsenter", inside, "ip", *words.split())
        return address

    def unplug(self, name: str) -> None:
        """Remove the namespace, where there is one; its end of the cable goes with it."""
        run_here("ip", "netns", "delete", name, check=False)

    def _away(self) -> None:
        for way in _WAYS:
            run_here("iptables", *(word.format("--delete") for word in way), check=False)
        run_here("ip", "link", "delete", _BRIDGE, check=False)
