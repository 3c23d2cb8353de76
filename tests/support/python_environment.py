"""Python environments with packages from PyPI, for what is compared with them."""
import fcntl
import subprocess
import sys


def make_environment(folder, requirements):
    """The Python of an environment in `folder` with what the file `requirements` names; made anew where that changed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "installed.txt"
        if not stamp.is_file() or stamp.read_text() != requirements.read_text():
            print(f"installing {requirements} into {folder}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                            "--requirement", requirements], check=True)
            stamp.write_text(requirements.read_text())
    return str(folder / "bin/python")
