"""Cases 16 to 22: what happens to the process, its files and its disk during a conversion."""

import os
import sys
from pathlib import Path

from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, convert

WITHOUT_RIGHTS = "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"
"""With these options of setpriv, a file's mode restricts root too."""

DRIVER = """
import os, pathlib, random, signal, subprocess, sys, time
def begin(*more):
    return subprocess.Popen([*sys.argv[1:], *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
def end(process):
    out, err = process.communicate()
    sys.stdout.buffer.write(out)
    sys.stderr.buffer.write(err)
    sys.exit(process.returncode % 256)
"""
"""Start of a script that runs the command and interferes with it."""

CHANGED = """
path = pathlib.Path("weights.safetensors")
whole = path.read_bytes()
with path.open("r+b") as file:
    process, byte = begin(), 0
    while process.poll() is None:
        byte = (byte + 1) % 256
        os.pwrite(file.fileno(), bytes([byte]), len(whole) - 4)
    os.pwrite(file.fileno(), whole[-4:], len(whole) - 4)
end(process)
"""

INTERRUPTED = """
def works(number):
    try:
        return "ml_dtypes" in pathlib.Path(f"/proc/{number}/maps").read_text()
    except OSError:
        return False
while True:
    process = begin()
    while process.poll() is None and not works(process.pid):
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.1))
    process.send_signal(signal.SIGINT)
    if process.wait():
        break
    pathlib.Path("target.safetensors").unlink()  # the command ended before the interrupt
end(process)
"""

KILLED = """
for moment in (0.15, 0.2, 0.25, 0.3, 0.35):
    process = begin("--force")
    time.sleep(moment)
    process.kill()
    process.wait()
end(begin("--force"))
"""

RACING = """
one, other = begin(), begin()
statuses = {one.wait(), other.wait()}
end(one if one.returncode not in (0, 6) or other.returncode == 6 else other)
"""

ELSEWHERE = """
there=$(mktemp -d -p /dev/shm) || exit 1
"$@" "$there/target.safetensors"; status=$?
mv "$there"/target.safetensors . ; rmdir "$there" && exit $status
"""


def without_rights(command: list[str]) -> list[str]:
    return command if os.geteuid() else ["setpriv", *WITHOUT_RIGHTS, *command]


def scripted(script: str, command: list[str]) -> list[str]:
    """A shell script that gets the command as "$@"."""
    return ["bash", "-c", script, "bash", *command]


def while_running(script: str) -> Make:
    def make(folder: Path, valid: ValidFiles) -> list[str]:
        path = valid.copy(".safetensors", folder)
        return [sys.executable, "-c", DRIVER + script, *convert(path.name)]

    return make


def into_itself(*options: str) -> Make:
    def make(folder: Path, valid: ValidFiles) -> list[str]:
        path = valid.copy(".safetensors", folder)
        return convert(path.name, path.name, *options)

    return make


def into_its_folder(folder: Path, valid: ValidFiles) -> list[str]:
    (folder / "weights").mkdir()
    valid.copy(".safetensors", folder).rename(folder / "weights" / "model.safetensors")
    return convert("weights", "weights/target.safetensors")


def onto_a_full_disk(suffix: str) -> Make:
    def make(folder: Path, valid: ValidFiles) -> list[str]:
        path = valid.copy(".npz", folder)
        return scripted('ulimit -f 32; exec "$@"', convert(path.name, f"target{suffix}"))

    return make


def into_a_closed_folder(folder: Path, valid: ValidFiles) -> list[str]:
    path = valid.copy(".safetensors", folder)
    (folder / "closed").mkdir(mode=0o555)
    return without_rights(convert(path.name, "closed/target.safetensors"))


def onto_another_disk(folder: Path, valid: ValidFiles) -> list[str]:
    path = valid.copy(".safetensors", folder)
    return scripted(ELSEWHERE, [sys.executable, "-m", "se_cli", "convert", "--json", path.name])


CASES = (
    Case("16", "a file that changes while it is read", while_running(CHANGED), 6, "source.changed"),
    Case("17a", "a target that is the source", into_itself(), 6, "target.exists"),
    Case("17b", "a target that is the source, by force", into_itself("--force"), 6, "target.exists"),
    Case("17c", "a target in the folder that is read", into_its_folder, 6, "target.exists"),
    Case("18a", "a disk that fills while safetensors is written", onto_a_full_disk(".safetensors"), 6, "io.full"),
    Case("18b", "a disk that fills while a torch file is written", onto_a_full_disk(".pth"), 6, "io.full"),
    Case("18c", "a disk that fills while a Keras file is written", onto_a_full_disk(".weights.h5"), 6, "io.full"),
    Case("19a", "an interrupt", while_running(INTERRUPTED), 130, None),
    accepted("19b", "a kill at several moments, and then another run", while_running(KILLED)),
    accepted("20", "two conversions that race for one target", while_running(RACING)),
    Case("21", "a folder that may not be written", into_a_closed_folder, 6, "io.permission"),
    accepted("22", "a target on another disk than its source", onto_another_disk),
)
