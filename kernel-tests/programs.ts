// The programs that test workloads run: servers on many ports, and a prober that tells what became of each attempt.

const echoes = (addresses: readonly string[], ports: readonly number[]): string[] => ['python3', '-u', '-c', `
import json, socket, sys, threading
def answer(peer, address):
    try:
        peer.sendall(('from ' + address[0].replace('::ffff:', '') + '\\n').encode())
        while data := peer.recv(65536): peer.sendall(data)
    except OSError: pass
def bind(kind, address, port):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind)
    if address == '::': s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((address, port))
    return s
def tcp(address, port):
    listener = bind(socket.SOCK_STREAM, address, port); listener.listen(4096)
    while True: threading.Thread(target=answer, args=listener.accept(), daemon=True).start()
def udp(address, port):
    s = bind(socket.SOCK_DGRAM, address, port)
    while True:
        data, client = s.recvfrom(65536); s.sendto(data, client)
for address in json.loads(sys.argv[1]):
    for port in json.loads(sys.argv[2]):
        for kind in (tcp, udp): threading.Thread(target=kind, args=(address, port)).start()
`, JSON.stringify(addresses), JSON.stringify(ports)];

/** Echoes over TCP and UDP on the given ports, IPv4 and IPv6; over TCP a line with the client's address comes first. */
export const server = (...ports: number[]): string[] => echoes(['::'], ports);

/** The same by sockets of one address each: a wildcard one of UDP on the node would answer workloads from the gateway's address. */
export const bound = (addresses: readonly string[], ...ports: number[]): string[] => echoes(addresses, ports);

const ways = { tcp: 'stream', udp: 'datagram' } as const;
/** To such a server, at each address in each way: 8 MiB by TCP, 8,000 bytes by UDP, which go in fragments. Prints True for each that came back as it was. */
export const transfer = (addresses: readonly string[], port: number, by: readonly (keyof typeof ways)[]): string[] => ['python3', '-c', `
import os, socket, threading
def stream(to):
    data = os.urandom(1 << 20) * 8
    s = socket.create_connection((to, ${port}), timeout=10); s.recv(100)
    threading.Thread(target=s.sendall, args=(data,)).start()
    back = bytearray()
    while len(back) < len(data):
        part = s.recv(1 << 20)
        if not part: break
        back += part
    return bytes(back) == data
def datagram(to):
    s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
    data = os.urandom(8000)
    s.connect((to, ${port})); s.send(data)
    return s.recv(65536) == data
print(*[way(to) for to in ${JSON.stringify(addresses)} for way in (${by.map((one) => `${ways[one]},`).join(' ')})])`];

/** Ends only when it is told to. */
export const idle = ['sleep', '100000'];

/** What a probe may say. `refused`: answered by a reset or an ICMP error; `silent`: nothing came back in time. */
export type Answer = 'open' | 'refused' | 'silent' | 'unreachable';
export interface Probe { readonly kind: 'tcp' | 'udp' | 'ping'; readonly to: string; readonly port?: number }

/** Above 1 on emulated machines (kernel-tests/vm). */
export const slowness = Number(process.env['WEIR_SLOWNESS'] ?? 1);
const timeoutS = 0.7 * slowness;

/** Runs all probes side by side and prints a JSON list of answers. */
export const prober = (probes: readonly Probe[]): string[] => ['python3', '-c', `
import json, socket, subprocess, sys, threading, errno
probes = json.loads(sys.argv[1])
answers = [None] * len(probes)
def reach(probe):
    if probe['kind'] == 'ping':
        run = subprocess.run(['ping', '-n', '-c', '1', '-W', '${Math.ceil(timeoutS)}', probe['to']], capture_output=True, text=True)
        return 'open' if run.returncode == 0 else 'unreachable' if 'nreachable' in run.stdout else 'silent'
    family = socket.AF_INET6 if ':' in probe['to'] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if probe['kind'] == 'tcp' else socket.SOCK_DGRAM) as s:
        s.settimeout(${timeoutS})
        try:
            s.connect((probe['to'], probe['port']))
            if probe['kind'] == 'udp': s.send(b'hello')
            s.recv(100)
            return 'open'
        except ConnectionRefusedError: return 'refused'
        except TimeoutError: return 'silent'
        except OSError as error: return 'unreachable' if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM) else str(error)
def work(index): answers[index] = reach(probes[index])
threads = [threading.Thread(target=work, args=(index,)) for index in range(len(probes))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(answers))
`, JSON.stringify(probes)];
