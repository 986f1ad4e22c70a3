"""What Lambda asks of a function's zip."""

import io
import tempfile
import zipfile
from pathlib import Path

from resolved import Refused, resolve

# Bytes. Lambda would take 50 MB; the largest function has 1.7 MB, and the SDK's default TLS would add 0.5 MB
# (docs/cold-start.md). Lambda loads the zip at each cold start.
MOST_BYTES = 2_000_000


def faults_of_executable(code, architecture):
    """What is wrong with an executable, by `local template --check-code`."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bootstrap").write_bytes(code)
        properties = {"CodeUri": folder, "Architectures": [architecture]}
        resources = {"F": {"Type": "AWS::Serverless::Function", "Properties": properties}}
        try:
            resolve({"Resources": resources}, {}, "--check-code")
        except Refused as error:
            yield str(error).split("/bootstrap ")[-1]


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
