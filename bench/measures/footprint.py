"""What an upload takes besides time: bytes written, memory, disk, processor."""

from __future__ import annotations

from bench.harness import Bench
from bench.procfs import cpu_seconds, disk_bytes, disk_peak, peak_memory, reset_peak_memory, written_bytes
from bench.report import MiB, Section, Table, at_most, size_text

_CONNECTIONS = 8


def run(bench: Bench) -> Section:
    size = bench.scale.size
    rows, written, memory, disk = [], [], [], []
    with bench.partwise() as server:
        # The first upload loads what is loaded when first needed.
        server.delete(server.upload(bench.source, bench.whole, bench.scale.chunk, 1).artifact)
        for chunk in bench.scale.memory_chunks:
            for form in (False, True):
                pids = server.pids
                before = written_bytes(pids), cpu_seconds(pids), disk_bytes(server.folder)
                reset_peak_memory(pids)
                with disk_peak(server.folder) as peak:
                    uploaded = server.upload(bench.source, bench.whole, chunk, _CONNECTIONS, form=form)
                written.append((written_bytes(pids) - before[0]) / size)
                processor = cpu_seconds(pids) - before[1]
                disk.append((peak.value - before[2]) / size)
                memory.append(peak_memory(pids) / MiB)
                server.delete(uploaded.artifact)
                name = f"{size_text(chunk)}, {'form' if form else 'raw'}"
                figures = f"{written[-1]:.4f}", f"{disk[-1]:.4f}", f"{memory[-1]:.0f}", f"{processor:.2f}"
                rows.append((name, *figures))
                bench.say(f"  {name}: {figures}")
    section = Section(
        "Bytes written, memory, disk",
        f"{size_text(size)} over {_CONNECTIONS} connections, one run for each line. The kernel's counters of "
        "all server processes.",
    )
    head = ("chunks", "bytes written ÷ size", "disk peak ÷ size", "peak memory (MiB)", "processor seconds")
    section.tables.append(Table(head, rows))
    section.targets = [
        at_most("bytes written ÷ size", max(written), 1.02),
        at_most("disk peak ÷ size", max(disk), 1.02),
        at_most("peak memory of a server process, any chunk size", max(memory), 120, "MiB"),
    ]
    return section
