"""Runs a daemon that follows a file, writes the file, and ends the daemon once it has had time to send all of it."""

import glob
import os
import subprocess
import sys
import tempfile
import time


def follow(file, configuration, command, **values):
    name, count = os.environ["NAME"], int(os.environ["COUNT"])
    pace, patience = float(os.environ["PACE"]), float(os.environ["PATIENCE"])
    root = os.environ["PACKAGES"]
    libraries = glob.glob(f"{root}/**/lib/x86_64-linux-gnu", recursive=True)
    libraries.append(f"{root}/usr/lib/syslog-ng")
    with tempfile.TemporaryDirectory() as directory:
        lines = f"{directory}/lines"
        with open(f"{directory}/{file}", "w") as out:
            out.write(configuration.format(directory=directory, lines=lines, name=name, **values))
        with open(lines, "w") as out:
            daemon = subprocess.Popen(
                command(root, directory),
                env=os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)},
                stdout=sys.stderr,
            )
            for n in range(count):
                out.write(f"{name} {n}\n")
                out.flush()
                time.sleep(pace)
            time.sleep(patience)
        assert daemon.poll() is None, f"it ended with {daemon.returncode}"
        daemon.terminate()
        sys.exit(daemon.wait(60))
