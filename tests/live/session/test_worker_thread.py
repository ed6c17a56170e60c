import threading
import time

from ram_avatar.live.session.worker_thread import WorkerThread


def test_close_finishes_the_job_and_ends_the_thread():
    """A thread still exiting when the interpreter ends would crash the program."""
    worker, done = WorkerThread("worker"), []
    worker.start(lambda: time.sleep(0.1) or done.append(1))
    worker.start(lambda: done.append(2))
    worker.close()
    assert done == [1, 2]
    assert "worker" not in {thread.name for thread in threading.enumerate()}
