"""The codec: what is encoded comes back, and what is damaged does not."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroctl.link import protocol
from neuroctl.link.frames import Decoder, encode
from neuroctl.link.protocol import ANSWER, ERROR, HELLO_SEED, Code, Flag, Mode, Reason, Sizes, Type, fold

SIZES = Sizes(8, 4, 64)
SEED = fold(0x12345678)
MUTATED = int(os.environ.get("NEUROCTL_FRAMES", "100000"))

requests = st.one_of(
    st.tuples(st.just(Type.PING), st.integers(0, 255), st.binary(max_size=64)),
    st.tuples(st.just(Type.STEP), st.integers(0, 3), st.binary(min_size=16, max_size=16)),
    st.tuples(st.just(Type.STATE), st.just(0), st.binary(min_size=64, max_size=64)),
    st.tuples(st.just(Type.STOP), st.just(0), st.just(b"")),
    st.tuples(st.just(Type.PARAM), st.just(0), st.binary(min_size=1, max_size=128).map(lambda b: b"\1\0\0\0\0" + b)),
)


def decoder():
    return Decoder(SEED, SIZES, protocol.request_fits)


@given(st.lists(st.tuples(requests, st.integers(0, 255)), max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_frames_come_back_however_their_bytes_arrive(given_frames, cuts):
    stream = b"\0".join(encode(kind, seq, flags, data, SEED) for (kind, flags, data), seq in given_frames)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    taken = decoder()
    frames = [frame for low, high in zip(edges, edges[1:], strict=False) for frame in taken.feed(stream[low:high])]
    assert [((f.type, f.flags, f.payload), f.seq) for f in frames] == given_frames
    assert taken.bad_frames == 0


@given(st.binary(max_size=600))
def test_noise_is_dropped_and_the_next_frame_counts(noise):
    """Noise may end in the middle of a frame: a zero, and the next frame is read."""
    taken = decoder()
    assert taken.feed(noise + b"\0") == []
    assert [f.type for f in taken.feed(encode(Type.PING, 7, 0, b"echo", SEED))] == [Type.PING]


def test_bytes_of_a_frame():
    """CRC-16/XMODEM over version to payload with the seed; COBS; a zero. Worked out by hand from the protocol."""
    body = bytes((1, Type.PING, 9, 0)) + b"\0\1"
    crc = SEED
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    assert 0 not in crc.to_bytes(2, "little")
    assert encode(Type.PING, 9, 0, b"\0\1", SEED) == b"\4\1\5\t\1\4\1" + crc.to_bytes(2, "little") + b"\0"


@pytest.mark.parametrize(
    "wire",
    [
        encode(Type.PING, 1, 0, b"", SEED ^ 1),
        encode(Type.STEP, 1, 0, bytes(14), SEED),
        encode(Type.STEP, 1, 0, bytes(18), SEED),
        encode(Type.PING, 1, 0, bytes(65), SEED),
        encode(Type.PARAM, 1, 0, bytes(16), SEED),
        encode(Type.PARAM, 1, 0, b"\1" + bytes(4), SEED),
        encode(Type.PARAM, 1, 0, b"\1" + bytes(4 + 129), SEED),
        encode(Type.PARAM, 1, 0, b"\3", SEED),
        encode(Type.PARAM, 1, 0, b"", SEED),
        encode(Type.STATE, 1, 0, bytes(63), SEED),
        encode(Type.START, 1, 0, bytes(7), SEED),
        encode(Type.HELLO, 1, 0, b"", SEED),
        encode(Type.HELLO, 1, 0, b"\1", HELLO_SEED),
        encode(0x07, 1, 0, b"", SEED),
        encode(Type.PING | ANSWER, 1, 0, bytes(14), SEED),
        encode(Type.PING, 1, 0, b"", SEED)[:-3] + b"\0",
        encode(Type.PING, 1, 0, b"", SEED).replace(b"\1", b"\2", 1),
        b"\1" * 5000 + b"\0",
        b"\5\1\0",
    ],
    ids=lambda wire: wire[:12].hex(),
)
def test_a_frame_that_does_not_count_is_dropped_and_counted_once(wire):
    taken = decoder()
    assert taken.feed(wire) == []
    assert taken.bad_frames == 1
    assert len(taken.feed(encode(Type.PING, 2, 0, b"", SEED))) == 1


def test_noise_without_an_end_takes_no_memory():
    taken = decoder()
    for _ in range(200):
        taken.feed(b"\7" * 1000)
    assert len(taken._rest) < 2000
    assert [f.seq for f in taken.feed(b"\0" + encode(Type.PING, 3, 0, b"", SEED))] == [3]
    assert taken.bad_frames == 1


def test_answers_lengths():
    answers = Decoder(SEED, SIZES)
    step = encode(Type.STEP | ANSWER, 1, 0, bytes(8), SEED)
    full = encode(Type.STEP | ANSWER, 1, Flag.STATE, bytes(8 + 64), SEED)
    report = encode(Type.REPORT, 1, Flag.STATE, bytes(4 + 16 + 8 + 64), SEED)
    assert len(answers.feed(step + full + report)) == 3
    wrong = [encode(Type.STEP | ANSWER, 1, Flag.STATE, bytes(8), SEED), encode(Type.REPORT, 1, 0, bytes(28 + 64), SEED)]
    assert answers.feed(b"".join(wrong)) == []
    assert answers.bad_frames == 2


def test_hello_and_wrong_model_need_no_model():
    stranger = Decoder(fold(1), None)
    hello = encode(Type.HELLO | ANSWER, 1, 0, bytes(50), HELLO_SEED)
    foreign = encode(Type.ERROR, 1, 0, ERROR.pack(Code.WRONG_MODEL, 2, 0), HELLO_SEED)
    other = encode(Type.ERROR, 1, 0, ERROR.pack(Code.LATCHED, 2, 0), HELLO_SEED)
    assert [f.type for f in stranger.feed(hello + foreign + other)] == [Type.HELLO | ANSWER, Type.ERROR]


def test_hello_and_pong_come_back():
    hello = protocol.Hello(1, 1, Mode.STEP, Reason.NONE, 1, 2, 3, 4, 5, 6, 7, 8, 9, -3, 15, "board")
    assert len(hello.pack()) == 50
    assert protocol.Hello.unpack(hello.pack()) == hello
    pong = protocol.Pong(1, Mode.LATCHED, Reason.TIMEOUT, 2, 3, 4, b"echo")
    assert len(pong.pack()) == 14 + 4
    assert protocol.Pong.unpack(pong.pack()) == pong


def mutated(rng, wire):
    """A frame with one of the faults of a line: bits, bytes, a burst, a piece missing, doubled or put in, cut short."""
    data = bytearray(wire)
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 6))
    match rng.integers(7):
        case 0:
            for bit in rng.integers(8 * len(data), size=size):
                data[bit // 8] ^= 1 << bit % 8
        case 1:
            data[at] = rng.integers(256)
        case 2:
            data[at : at + size] = rng.bytes(len(data[at : at + size]))
        case 3:
            del data[at : at + size]
        case 4:
            data[at:at] = rng.bytes(size)
        case 5:
            data[at:at] = data[at : at + size]
        case 6:
            del data[at:]
    return bytes(data)


def test_mutated_frames_are_found_out_and_cost_one_frame():
    """At most 2^-16 of damaged frames pass as others, and the frame after the next zero always counts."""
    rng = np.random.default_rng(5)
    kinds = [(Type.PING, 10), (Type.STEP, 16), (Type.STATE, 64), (Type.START, 8), (Type.STOP, 0), (Type.PING, 64)]
    taken, damaged, passed = decoder(), 0, 0
    for index in range(MUTATED):
        kind, size = kinds[index % len(kinds)]
        wire = encode(kind, index & 255, 0, rng.bytes(size), SEED)
        bad = mutated(rng, wire)
        if bad == wire:
            continue
        damaged += 1
        mark = encode(Type.PING, index & 255, 0, b"next one", SEED)
        # The zero that ended the frame may be gone; then the sender's next one begins with its own.
        frames = taken.feed(bad + (b"" if bad.endswith(b"\0") else b"\0") + mark)
        assert frames
        assert frames[-1].payload == b"next one"
        whole = [encode(f.type, f.seq, f.flags, f.payload, SEED) for f in frames[:-1]]
        passed += sum(frame != wire for frame in whole)
    print(f"{damaged} damaged frames, {passed} passed, {taken.bad_frames} counted")
    assert damaged > 0.9 * MUTATED
    assert passed <= damaged * 2.0**-16
    assert taken.bad_frames > 0.8 * damaged
