# A router's side of KV events, by libzmq and msgpack: prints each message as a line of JSON.
import json
import sys

import msgpack
import zmq


def shown(value):
    """JavaScript's numbers do not hold hashes."""
    if isinstance(value, list):
        return [shown(one) for one in value]
    return str(value) if isinstance(value, int) and value >= 2**53 else value


socket = zmq.Context.instance().socket(zmq.SUB)
socket.connect(sys.argv[1])
socket.subscribe(b"kv@")
while True:
    topic, sequence, batch = socket.recv_multipart()
    number = int.from_bytes(sequence, "big")
    print(json.dumps([topic.decode(), number, shown(msgpack.unpackb(batch))]), flush=True)
