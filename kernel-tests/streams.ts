// What runs on while agents come and go: a sequence-numbered stream that tells of every lost byte and reset, and a prober that
// never stops trying what is denied.
import { spawn, type ChildProcess } from 'node:child_process';

const running = new Set<ChildProcess>();
/** For a test that failed in between. */
export const endStreams = (): void => { for (const child of running) child.kill('SIGKILL'); };

interface Talk { readonly child: ChildProcess; readonly ended: Promise<string> }

/** In the network namespace of a workload, without the agent's help. */
function inside(shimPid: number, script: string): Talk {
  const child = spawn('nsenter', [`--net=/proc/${shimPid}/ns/net`, 'python3', '-u', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  running.add(child);
  let out = '';
  child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  return { child, ended: new Promise((resolve) => { child.once('close', () => { resolve(out); }); }) };
}

export interface StreamEnd { readonly sent: number; readonly echoed: number; readonly wrong: number; readonly error: string; readonly longestPauseS: number }

/** Sends numbered blocks to an echo server until `stop` and compares what comes back. */
export class Stream {
  readonly #talk: Talk;
  constructor(shimPid: number, address: string, port: number) {
    this.#talk = inside(shimPid, `
import json, os, select, socket, struct, sys, threading, time
s = socket.create_connection(('${address}', ${port})); s.settimeout(20)
banner = b''
while not banner.endswith(b'\\n'): banner += s.recv(1)
block, sent, echoed, wrong, error, pause, stopping = 65536, 0, 0, 0, '', 0.0, False
def send():
    global sent, error
    number = 0
    try:
        while not stopping:
            s.sendall(struct.pack('>Q', number) * (block // 8)); number += 1; sent += block
            time.sleep(0.002)
        s.shutdown(socket.SHUT_WR)
    except OSError as problem: error = str(problem)
def receive():
    global echoed, wrong, error, pause
    buffer, number, last = b'', 0, time.monotonic()
    try:
        while data := s.recv(1 << 20):
            now = time.monotonic(); pause = max(pause, now - last); last = now
            echoed += len(data); buffer += data
            while len(buffer) >= block:
                wrong += buffer[:block] != struct.pack('>Q', number) * (block // 8)
                buffer = buffer[block:]; number += 1
    except OSError as problem: error = str(problem)
threads = [threading.Thread(target=send), threading.Thread(target=receive)]
for thread in threads: thread.start()
sys.stdin.read()
stopping = True
for thread in threads: thread.join()
print(json.dumps({'sent': sent, 'echoed': echoed, 'wrong': wrong, 'error': error, 'longestPauseS': pause}))
`);
  }

  async stop(): Promise<StreamEnd> {
    this.#talk.child.stdin!.end();
    return JSON.parse(await this.#talk.ended) as StreamEnd;
  }
}

export interface DeniedEnd { readonly tried: number; readonly open: number }

/** Tries TCP and UDP to the addresses in a tight loop; whatever is answered counts as open. */
export class Denied {
  readonly #talk: Talk;
  constructor(shimPid: number, addresses: readonly string[], port: number) {
    this.#talk = inside(shimPid, `
import json, select, socket, sys, threading
tried, opened, stopping = 0, 0, False
def attempt(kind, address):
    global tried, opened
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    while not stopping:
        with socket.socket(family, kind) as s:
            s.settimeout(0.02)
            tried += 1
            try:
                s.connect((address, ${port}))
                if kind == socket.SOCK_DGRAM: s.send(b'x'); s.recv(10)
                opened += 1
            except TimeoutError: pass
            except ConnectionRefusedError: opened += 1
            except OSError: pass
threads = [threading.Thread(target=attempt, args=(kind, address)) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for address in ${JSON.stringify(addresses)}]
for thread in threads: thread.start()
sys.stdin.read()
stopping = True
for thread in threads: thread.join()
print(json.dumps({'tried': tried, 'open': opened}))
`);
  }

  async stop(): Promise<DeniedEnd> {
    this.#talk.child.stdin!.end();
    return JSON.parse(await this.#talk.ended) as DeniedEnd;
  }
}
