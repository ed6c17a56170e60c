import subprocess
import sys

SCRIPT = """
import sys
from ram_avatar.live.web import listening
assert not {"torch", "cv2", "starlette", "uvicorn"} & set(sys.modules)
"""


def test_the_port_is_checked_before_slow_imports():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
