// A name server for tests, and what asks it: messages by hand (RFC 1035), so that nothing but the test decides what is in them.

/** Where addresses of answers lead: all of both ranges is outside, and its servers answer there. */
export const ranges = { ipv4: '198.18.0.0/15', ipv6: '2001:db8:18::/64' } as const;

/**
 * By UDP and TCP. Answers A and AAAA: `nNUMBER.` with address NUMBER of the ranges, `manyNUMBER.` with so many, `inside.` with `argv[1]`, `none.` with
 * NXDOMAIN, other names with address 1. HTTPS of `webNUMBER.`: that address of both ranges as hints. Any other type: no record.
 */
export const nameServer = (inside: string, port = 53): string[] => ['python3', '-u', '-c', `
import ipaddress, re, socket, struct, sys, threading
bases = {1: int(ipaddress.ip_address('198.18.0.0')), 28: int(ipaddress.ip_address('2001:db8:18::'))}
def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode('latin1').lower()); at += 1 + query[at]
    kind = struct.unpack('!H', query[at + 1:at + 3])[0]
    question = query[12:at + 5]
    first = labels[0] if labels else ''
    flags, found = 0x8180, []
    number = re.match(r'(n|many|web)([0-9]+)$', first)
    if first == 'none': flags = 0x8183
    elif kind in bases:
        numbers = [1] if not number else [int(number[2])] if number[1] == 'n' else range(1, int(number[2]) + 1)
        size = 4 if kind == 1 else 16
        found = [(bases[kind] + one).to_bytes(size, 'big') for one in numbers]
        if first == 'inside': found = [ipaddress.ip_address(sys.argv[1]).packed] if kind == 1 else []
    records = b''.join(b'\\xc0\\x0c' + struct.pack('!HHIH', kind, 1, 1, len(data)) + data for data in found)
    if kind == 65 and number:
        hints = b''.join(struct.pack('!HH', key, size) + (bases[of] + int(number[2])).to_bytes(size, 'big') for key, of, size in ((4, 1, 4), (6, 28, 16)))
        found = [b'\\0\\1\\0' + hints]
        records = b'\\xc0\\x0c' + struct.pack('!HHIH', 65, 1, 1, len(found[0])) + found[0]
    return query[:2] + struct.pack('!HHHHH', flags, 1, len(found), 0, 0) + question + records
def converse(connection):
    with connection, connection.makefile('rb') as queries:
        while True:
            head = queries.read(2)
            if len(head) < 2: return
            message = answer(queries.read(struct.unpack('!H', head)[0]))
            try: connection.sendall(struct.pack('!H', len(message)) + message)
            except OSError: return
def listen():
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('::', int(sys.argv[2]))); s.listen(256)
    while True: threading.Thread(target=converse, args=(s.accept()[0],), daemon=True).start()
threading.Thread(target=listen).start()
def serve(address):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM); s.bind((address, int(sys.argv[2])))
    while True:
        query, client = s.recvfrom(4096); s.sendto(answer(query), client)
for address in ('0.0.0.0', '::'):
    if address == '::':
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); s.bind(('::', int(sys.argv[2])))
        def six(s=s):
            while True:
                query, client = s.recvfrom(4096); s.sendto(answer(query), client)
        threading.Thread(target=six).start()
    else: threading.Thread(target=serve, args=(address,)).start()
`, inside, String(port)];

const library = `
import ipaddress, json, random, select, socket, struct, sys, time
def family(address): return socket.AF_INET6 if ':' in address else socket.AF_INET
def question(name, kind):
    return struct.pack('!HHHHHH', random.randrange(65536), 0x0100, 1, 0, 0, 0) + b''.join(bytes([len(label)]) + label.encode() for label in name.split('.') if label) + b'\\0' + struct.pack('!HH', kind, 1)
def ask(server, name, kind, timeout=1, port=53):
    query = question(name, kind)
    with socket.socket(family(server), socket.SOCK_DGRAM) as s:
        s.settimeout(timeout); s.connect((server, port)); s.send(query)
        try: message = s.recv(65536)
        except (TimeoutError, OSError): return {'rcode': 'silent', 'addresses': []}
    return read(query, message)
def by_tcp(server, name, kind, timeout=5, port=53):
    query = question(name, kind)
    try:
        with socket.create_connection((server, port), timeout) as s, s.makefile('rb') as answers:
            s.sendall(struct.pack('!H', len(query)) + query)
            head = answers.read(2)
            return read(query, answers.read(struct.unpack('!H', head)[0])) if len(head) == 2 else {'rcode': 'closed', 'addresses': []}
    except ConnectionRefusedError: return {'rcode': 'reset', 'addresses': []}
    except (TimeoutError, OSError) as error: return {'rcode': 'silent', 'addresses': []}
def either(server, name, kind):
    found = ask(server, name, kind)
    return by_tcp(server, name, kind) if found.get('cut') else found
def read(query, message):
    if message[:2] != query[:2]: return {'rcode': 'another id', 'addresses': []}
    if message[2] & 2: return {'rcode': message[3] & 15, 'addresses': [], 'cut': True}
    rcode, count, at, found = message[3] & 15, struct.unpack('!H', message[6:8])[0], len(query), []
    for _ in range(count if query[-3] in (1, 28) else 0):
        size = struct.unpack('!H', message[at + 10:at + 12])[0]
        found.append(str(ipaddress.ip_address(message[at + 12:at + 12 + size]))); at += 12 + size
    return {'rcode': rcode, 'addresses': found}
def reach(address, port, timeout):
    with socket.socket(family(address), socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        try: s.connect((address, port)); return 'open'
        except ConnectionRefusedError: return 'refused'
        except (TimeoutError, OSError): return 'silent'
`;

export interface Lookup { readonly server: string; readonly name: string; readonly type: 1 | 28 | 65; /** `either`: by TCP where the answer by UDP was cut short. */ readonly by?: 'udp' | 'tcp' | 'either'; /** Which address is connected to; the first. */ readonly at?: number }
export interface Found { readonly rcode: number | string; readonly addresses: readonly string[]; readonly cut?: true; /** To port 8080 of that address, at once. */ readonly reached?: string }

/** Each asked once, and what it found connected to. */
export const lookups = (all: readonly Lookup[], port: number): string[] => ['python3', '-c', `${library}
results = []
for one in json.loads(sys.argv[1]):
    found = {'udp': ask, 'tcp': by_tcp, 'either': either}[one.get('by', 'udp')](one['server'], one['name'], one['type'])
    if found['addresses']: found['reached'] = reach(found['addresses'][one.get('at', 0)], int(sys.argv[2]), 0.7)
    results.append(found)
print(json.dumps(results))
`, JSON.stringify(all), String(port)];

export interface Counted { readonly lookups: number; readonly failedLookups: number; readonly connections: number; readonly failedConnections: number }

/**
 * Asks for a new name each time, by turns in both families, and connects to what it is told at once: a first packet that is lost counts,
 * for a connection has less time than a second try takes. For so many seconds.
 */
export const endless = (servers: readonly string[], port: number, seconds: number): string[] => ['python3', '-u', '-c', `${library}
servers, port, end = json.loads(sys.argv[1]), int(sys.argv[2]), time.monotonic() + int(sys.argv[3])
counts = {'lookups': 0, 'failedLookups': 0, 'connections': 0, 'failedConnections': 0}
while time.monotonic() < end:
    number = counts['lookups'] % 60000 + 2
    server = servers[counts['lookups'] % len(servers)]
    found = ask(server, 'n%d.example.test' % number, 28 if ':' in server else 1, 2)
    counts['lookups'] += 1
    time.sleep(0.003)  # masquerading has not so many ports for one server
    if not found['addresses']: counts['failedLookups'] += 1; continue
    counts['connections'] += 1
    if reach(found['addresses'][0], port, 0.9) != 'open': counts['failedConnections'] += 1
print(json.dumps(counts))
`, JSON.stringify(servers), String(port), String(seconds)];

/** Accepts everywhere and closes. */
export const greeter = (port: number): string[] => ['python3', '-c', `
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('::', int(sys.argv[1]))); s.listen(4096)
while True: s.accept()[0].close()
`, String(port)];

export interface Pace { readonly names: number; readonly door: number; readonly first: number; readonly step: number; readonly lookups: number; readonly perSecond: number }

/** As `endless`, for so many names, each of its own, with a fresh port: at most so many a second. */
export const paced = (servers: readonly string[], pace: Pace): string[] => ['python3', '-u', '-c', `${library}
servers, pace = json.loads(sys.argv[1]), json.loads(sys.argv[2])
counts = {'lookups': 0, 'failedLookups': 0, 'connections': 0, 'failedConnections': 0}
begun = time.monotonic()
for turn in range(pace['lookups']):
    server = servers[turn % len(servers)]
    found = ask(server, 'n%d.example.test' % (pace['first'] + turn * pace['step']), 28 if ':' in server else 1, 2, pace['names'])
    counts['lookups'] += 1
    if found['addresses']:
        counts['connections'] += 1
        if reach(found['addresses'][0], pace['door'], 0.9) != 'open': counts['failedConnections'] += 1
    else: counts['failedLookups'] += 1
    time.sleep(max(0, begun + turn / pace['perSecond'] - time.monotonic()))
print(json.dumps(counts))
`, JSON.stringify(servers), JSON.stringify(pace)];
