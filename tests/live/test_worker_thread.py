import threading
import time

from ram_avatar.live.session.worker_thread import Beside


def test_it_ends_after_its_work_and_leaves_no_thread():
    """A thread that is still on its way out when the interpreter ends takes the program down with it."""
    beside, done = Beside("besides"), []
    beside.start(lambda: time.sleep(0.1) or done.append(1))
    beside.start(lambda: done.append(2))
    beside.close()
    assert done == [1, 2]
    assert "besides" not in {thread.name for thread in threading.enumerate()}
