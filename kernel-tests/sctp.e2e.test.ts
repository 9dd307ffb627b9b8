// SCTP by real sockets: associations between workloads and from the node, allowed and denied by port, both families.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, pod, policy } from './cluster.ts';
import { hasSctp } from './modules.ts';
import { idle } from './programs.ts';

const serve = ['python3', '-u', '-c', `
import socket, threading
def answer(peer):
    while data := peer.recv(65536): peer.sendall(data)
def listen(family, address, port):
    s = socket.socket(family, socket.SOCK_STREAM, 132)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, port)); s.listen(10)
    while True: threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
for port in (8080, 9090):
    for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')): threading.Thread(target=listen, args=(family, address, port)).start()
`];

/** Prints what became of an association to each port: open, refused, silent. */
const dial = (address: string, ports: readonly number[]): string[] => ['python3', '-c', `
import socket, threading
answers = {}
def one(port):
    s = socket.socket(socket.AF_INET6 if ':' in '${address}' else socket.AF_INET, socket.SOCK_STREAM, 132)
    s.settimeout(4)
    try:
        s.connect(('${address}', port)); s.sendall(b'x' * 5000)
        count = 0
        while count < 5000: count += len(s.recv(65536))
        answers[port] = 'open'
    except ConnectionRefusedError: answers[port] = 'refused'
    except TimeoutError: answers[port] = 'silent'
threads = [threading.Thread(target=one, args=(port,)) for port in ${JSON.stringify(ports)}]
for t in threads: t.start()
for t in threads: t.join()
print(*(f'{port} {answers.get(port)}' for port in ${JSON.stringify(ports)}), sep=', ')
`];

const scenario = hasSctp() ? describe : describe.skip;

scenario('SCTP sockets', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start('sctp', {
      'all.yaml': [
        pod('server', serve), pod('client', idle), pod('stranger', idle),
        policy('server', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [
          { fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [{ ports: [{ port: '8080', protocol: 'SCTP' }] }] },
        ] }),
      ],
    });
    const { ipv4 } = cluster.end('default/server');
    await cluster.until('the server listens', () => cluster.on('node', ...dial(ipv4, [8080])).out.trim() === '8080 open');
  }, 120_000);
  afterAll(async () => { await cluster.close(); });

  const rows = [
    { name: 'the port that is allowed, another port', from: 'client', answers: '8080 open, 9090 silent' },
    { name: 'another workload', from: 'stranger', answers: '8080 silent' },
    { name: 'the local host: every port; where nobody listens it is refused', from: 'node', answers: '9090 open, 7070 refused' },
  ] as const;
  describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
    test.each(rows)('$name', ({ from, answers }) => {
      const words = dial(cluster.end('default/server')[family], answers.split(', ').map((one) => parseInt(one, 10)));
      const { out, error } = from === 'node' ? cluster.on('node', ...words) : cluster.exec(`default/${from}`, ...words);
      expect(`${out.trim()}${error}`).toBe(answers);
    });
  });
});
