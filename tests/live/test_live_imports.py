import subprocess
import sys

SCRIPT = """
import sys
from ram_avatar.live.web import listening
assert not {"torch", "cv2", "starlette", "uvicorn"} & set(sys.modules)
import ram_avatar.live.bench, ram_avatar.live.web.serving
print(*(name for name in sys.modules if name.startswith("ram_avatar.")), sep="\\n")
"""


def test_the_port_is_checked_before_slow_imports_and_live_loads_no_training_or_evaluation():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rooms = {name.split(".")[1] for name in done.stdout.split()}
    assert {"live", "drivers", "avatar"} <= rooms
    assert not rooms & {"training", "evaluation", "creation", "demo", "cli", "synthetic"}
