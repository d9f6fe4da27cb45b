"""Events as tensorboard 2.21.0 writes them, for the test of scribe's own writer.

    python xtask/python/make_tensorboard_golden.py fixtures/tensorboard-golden.tfevents
"""

import sys

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter


def scalars(**values):
    tags = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return summary_pb2.Summary(value=tags)


def main(path):
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    events = [
        event_pb2.Event(wall_time=1.5e9, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=1.5e9 + 1, step=300, session_log=start),
        event_pb2.Event(
            wall_time=1.5e9 + 2.25, step=300, summary=scalars(**{"loss": 0.5, "learning rate": 1e-3})
        ),
    ]
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        writer.flush()


main(sys.argv[1])
