"""Results of the benchmark as a table, a chart and a summary.

A speed is that of the fastest call; the spread says how far the median is above it. Ratios are times
of the fastest peer over ours: more than 1 is faster.
"""

from __future__ import annotations

import math
import statistics

OURS, PEAK, READ = "libmha-cl", "FMA peak", "read k and v"
GAUGES = (PEAK, READ)


class Times:
    """Of one contender's calls, in ns."""

    def __init__(self, ns: list[float]):
        self.least, self.median, self.count = min(ns), statistics.median(ns), len(ns)

    def to_json(self) -> dict:
        return {"ns": self.least, "median_ns": self.median, "calls": self.count}


def is_measured(contender: dict) -> bool:
    return "ns" in contender and not contender.get("why")


def find(result: dict, side: str, name: str) -> dict | None:
    for contender in result["contenders"]:
        if contender["side"] == side and contender["name"] == name and is_measured(contender):
            return contender
    return None


def fastest_peer(result: dict) -> dict | None:
    peers = [c for c in result["contenders"] if is_measured(c) and not c["is_device"]]
    return min(peers, key=lambda c: c["ns"], default=None)


def devices(results: list[dict]) -> list[str]:
    names: dict[str, None] = {}
    for result in results:
        names |= {c["side"]: None for c in result["contenders"] if c["is_device"]}
    return list(names)


def print_case(result: dict) -> None:
    print(f"\n{result['shape']}  ({result['name']}, {result['flops'] / 1e9:.3g} GFLOP)")
    print(f"  {'':44} {'min ms':>9} {'median':>9} {'spread':>7} {'GFLOP/s':>8}  notes")
    peer = fastest_peer(result)
    for c in sorted(result["contenders"], key=lambda c: c.get("ns", math.inf)):
        name = f"{c['name']}, {c['side']}" if c["is_device"] else c["name"]
        if not is_measured(c):
            if c["name"] not in GAUGES:
                print(f"  {name[:44]:44} {'-':>9}  {c.get('why', '')[:90]}")
            continue
        spread = c["median_ns"] / c["ns"] - 1
        line = f"  {name[:44]:44} {c['ns'] / 1e6:9.3f} {c['median_ns'] / 1e6:9.3f} {spread:6.0%}"
        if c["name"] == PEAK:
            print(f"{line} {c['flops'] / c['ns']:8.1f}")
            continue
        if c["name"] == READ:
            print(f"{line} {'':8}  {c['bytes'] / c['ns']:.1f} GB/s")
            continue
        notes = []
        if c["name"] == OURS:
            notes = [c["variant"], *shares(result, c)]
            if peer:
                notes.append(f"{peer['ns'] / c['ns']:.2f} of {peer['name']}")
        print(f"{line} {result['flops'] / c['ns']:8.1f}  {', '.join(notes)}", flush=True)


def shares(result: dict, ours: dict) -> list[str]:
    """Of what the device can do at most."""
    peak, read = find(result, ours["side"], PEAK), find(result, ours["side"], READ)
    texts = []
    if peak:
        texts.append(f"{result['flops'] / ours['ns'] / (peak['flops'] / peak['ns']):.0%} of peak")
    if read:
        texts.append(f"{read['ns'] / ours['ns']:.0%} of reading")
    return texts


def ratios(results: list[dict], device: str, kind: str) -> list[tuple[float, str]]:
    found = []
    for result in results:
        ours, peer = find(result, device, OURS), fastest_peer(result)
        if ours and peer and result["kind"] == kind:
            found.append((peer["ns"] / ours["ns"], result["shape"]))
    return found


def print_summary(results: list[dict]) -> None:
    """Last, a line a device: the geometric mean against the fastest peer, and the worst shape."""
    print()
    for device in devices(results):
        parts = []
        for kind in ("attention", "layer"):
            found = ratios(results, device, kind)
            if found:
                mean = math.exp(sum(math.log(ratio) for ratio, _ in found) / len(found))
                worst, shape = min(found)
                parts.append(f"{kind} {mean:.2f} (worst {worst:.2f}, {shape}; {len(found)} shapes)")
        print(f"{device}, of the fastest peer: {'; '.join(parts) or 'nothing to compare with'}")


def draw(results: list[dict], path: str) -> None:
    """Speeds relative to the fastest peer's, a group of bars a shape."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars: dict[str, list[float]] = {}
    for number, result in enumerate(results):
        peer = fastest_peer(result)
        for c in result["contenders"]:
            if not is_measured(c) or c["name"] in GAUGES or not peer:
                continue
            name = f"{c['name']}, {c['side'].split(' / ')[0]}" if c["is_device"] else c["name"]
            bars.setdefault(name, [0.0] * len(results))[number] = peer["ns"] / c["ns"]
    figure, axes = pyplot.subplots(figsize=(10, 1.2 + 0.16 * len(bars) * len(results)))
    height = 0.85 / max(1, len(bars))
    order = sorted(bars, key=lambda name: (not name.startswith(OURS), name))
    colours = pyplot.get_cmap("tab20").colors
    for i, name in enumerate(order):
        places = [n + (i - (len(order) - 1) / 2) * height for n in range(len(results))]
        axes.barh(places, bars[name], height, label=name, color=colours[i % len(colours)])
    axes.axvline(1, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(results)), [result["shape"] for result in results])
    axes.invert_yaxis()
    axes.set_xlabel("speed, relative to the fastest other library")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="lower center", ncols=2, frameon=False, bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)
