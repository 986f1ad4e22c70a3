"""What Lambda asks of a function's zip."""

import io
import struct
import zipfile

# https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
MACHINES = {"x86_64": 62, "arm64": 183}

# Bytes. Lambda would take 50 MB; the largest function has 1.7 MB, and the SDK's default TLS would add 0.5 MB
# (docs/cold-start.md). Lambda loads the zip at each cold start.
MOST_BYTES = 2_000_000


def faults_of_executable(header, architecture):
    """What is wrong with an executable, of which `header` is at least the first 20 bytes."""
    if header[:6] != b"\x7fELF\x02\x01":
        yield "is no 64-bit Linux executable; Lambda runs no other (`make build ARCH=arm64` makes one anywhere)"
        return
    [machine] = struct.unpack_from("<H", header, 18)
    if machine != MACHINES[architecture]:
        name = next((name for name, it in MACHINES.items() if it == machine), f"machine {machine}")
        yield f"is for {name} and not for {architecture}"


def faults_of_zip(data, architecture):
    """What is wrong with the zip of a function on `provided.al2023`."""
    if len(data) > MOST_BYTES:
        yield f"the zip has {len(data):,} bytes; at most {MOST_BYTES:,} are wanted"
    archive = zipfile.ZipFile(io.BytesIO(data))
    if archive.namelist() != ["bootstrap"]:
        yield f"the zip holds {', '.join(archive.namelist())} and not just bootstrap"
    for entry in archive.infolist():
        if entry.filename == "bootstrap":
            if not entry.external_attr >> 16 & 0o111:
                yield "bootstrap may not be executed"
            yield from (f"bootstrap {it}" for it in faults_of_executable(archive.read(entry), architecture))
