"""A client of Corelane in the standard library of Python, written from protocol.md alone.

    python3 client.py 127.0.0.1:7400 QUEUE

makes the queue, sends three messages, looks at them, takes them and acknowledges them.
"""
import os
import socket
import struct
import sys
import zlib

HELLO, PING, ENQUEUE, DEQUEUE, ACK, PEEK, CREATE = 0x01, 0x02, 0x10, 0x11, 0x20, 0x23, 0x30
ANSWERS = {HELLO: 0x81, PING: 0x82, ENQUEUE: 0x90, DEQUEUE: 0x91, ACK: 0xA0, PEEK: 0xA3, CREATE: 0xB0}
FRAME_BYTES_MAX = 1_114_112
STALE_LEASE = 1024  # The one code that comes with the fields of a success.
OUTCOMES = ["done", "already done", "stale"]


class Refused(Exception):
    """An Error or a Fault: a code, and a text for people."""


class Fields:
    """Reads fields in their order."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values


def str16(text):
    return struct.pack("<H", len(text.encode())) + text.encode()


def checked(data):
    """A message entry, or the header of a batch: length and checksum, then what it covers."""
    return struct.pack("<I", zlib.crc32(data)) + data


def entry(body):
    return struct.pack("<I", 12 + len(body)) + checked(struct.pack("<HH", 0, 0) + body)


def batch(bodies, producer, sequence):
    entries = [entry(body) for body in bodies]
    size, largest = sum(map(len, entries)), max(map(len, entries))
    header = producer + struct.pack("<QIBBHII", sequence, len(entries), 0, 0, 0, size, largest)
    return struct.pack("<I", 48 + size) + checked(header) + b"".join(entries)


def bodies_of(messages):
    while messages:
        length, crc, attributes_bytes = struct.unpack_from("<IIH", messages)
        assert zlib.crc32(messages[8:length]) == crc, "the message is damaged"
        yield messages[12 + attributes_bytes:length]
        messages = messages[length:]


class Connection:
    """One request at a time: what comes next is its answer."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.stream = socket.create_connection((host, int(port)), timeout=60).makefile("rwb")
        self.correlation = 0
        hello = struct.pack("<BBBBQ16s", 1, 1, 0, 0, 0, bytes(16))
        fields, _ = self.call(HELLO, hello + str16("client.py") + str16("") + str16(""))
        version, resumed, _, _, self.session = fields.take("BBHQ16s")

    def call(self, kind, fields=b"", messages=b""):
        self.correlation += 1
        head = 40 + len(fields)
        start = b"CLN1" + struct.pack("<I", head + len(messages))
        rest = struct.pack("<IBBHIQQ", head, 1, kind, 0, 0, self.correlation, 0) + fields
        self.stream.write(start + struct.pack("<I", zlib.crc32(start + rest)) + rest + messages)
        self.stream.flush()
        return self.answer(ANSWERS[kind])

    def read(self, count):
        data = self.stream.read(count)
        assert len(data) == count, "the broker closed the connection"
        return data

    def answer(self, expected):
        header = self.read(40)
        magic, length, crc, head = struct.unpack_from("<4sIII", header)
        assert magic == b"CLN1" and 40 <= head <= length <= FRAME_BYTES_MAX, header
        fields, messages = self.read(head - 40), self.read(length - head)
        assert zlib.crc32(header[:8] + header[12:] + fields) == crc, "the head is damaged"
        version, kind, code, flags, correlation, self.epoch = struct.unpack_from("<BBHIQQ", header, 16)
        assert (version, flags) == (1, 0), header
        if kind in (0x80, 0xFF):
            raise Refused(code, fields[2:].decode())
        assert kind == expected and correlation == self.correlation and code in (0, STALE_LEASE)
        return Fields(fields), messages

    def ping(self):
        self.call(PING)

    def create(self, queue):
        return self.call(CREATE, str16(queue) + struct.pack("<I", 1))[0].take("?")[0]

    def enqueue(self, queue, bodies, producer, sequence):
        lane = struct.pack("<I", 0)
        fields, _ = self.call(ENQUEUE, str16(queue) + lane, batch(bodies, producer, sequence))
        first, count, _, copies, duplicate, _ = fields.take("QIBB?B")
        return range(first, first + count), copies, duplicate

    def peek(self, queue, start, count):
        fields, messages = self.call(PEEK, str16(queue) + struct.pack("<IQI", 0, start, count))
        return self.deliveries(fields, messages)[1]

    def dequeue(self, queue, count, lease_ms, wait_ms):
        numbers = struct.pack("<III", count, lease_ms, wait_ms)
        target = str16(queue) + struct.pack("<I", 0) + str16("")
        return self.deliveries(*self.call(DEQUEUE, target + numbers))

    def deliveries(self, fields, messages):
        lease, _, count = fields.take("16sII")
        runs = [fields.take("QIIQ") for _ in range(count)]
        offsets = [first + place for first, size, _, _ in runs for place in range(size)]
        return lease, list(zip(offsets, bodies_of(messages), strict=True))

    def ack(self, queue, lease, first, count):
        target = str16(queue) + struct.pack("<I", 0) + str16("")
        entries = struct.pack("<I16sQI", 1, lease, first, count)
        fields, _ = self.call(ACK, target + entries)
        rows = [fields.take("QIB") for _ in range(fields.take("I")[0])]
        return [(first, size, OUTCOMES[outcome]) for first, size, outcome in rows]


def main(address, queue):
    broker = Connection(address)
    broker.ping()
    print("made" if broker.create(queue) else "exists", queue)
    producer, bodies = os.urandom(16), [b"one", b"two", b"three"]
    for attempt in ("sent", "sent again"):
        offsets, copies, duplicate = broker.enqueue(queue, bodies, producer, 0)
        print(attempt, list(offsets), "copies", copies, "duplicate", duplicate)
    print("peek", broker.peek(queue, offsets[1], 10))
    lease, messages = broker.dequeue(queue, 10, 30_000, 5_000)
    print("took", messages)
    for _ in range(2):
        print("ack", broker.ack(queue, lease, messages[0][0], len(messages)))
    try:
        broker.peek("no/queue", 0, 1)
    except Refused as refusal:
        print("refused", *refusal.args)


if __name__ == "__main__":
    main(*sys.argv[1:])
